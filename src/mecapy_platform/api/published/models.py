"""Bodies and answers of the published API, field by field as its document has them."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field


class PackageStatus(StrEnum):
    PENDING = "pending"
    DEPLOYING = "deploying"
    READY = "ready"
    ERROR = "error"
    UPDATING = "updating"


class PackageVisibility(StrEnum):
    PRIVATE = "private"
    INTERNAL = "internal"
    PUBLIC = "public"


class JobStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"


class OrganizationRole(StrEnum):
    USER = "user"
    ADMIN = "admin"


class UserInfo(BaseModel):
    sub: str | None = None
    preferred_username: str
    email: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    roles: list[str] = []


class TypedPortInfo(BaseModel):
    type: str
    description: str | None = None
    required: bool = True
    declared_type: str | None = None  # ours: the type with its units, where `type` shows a Float[N/m] as Float


class FunctionIoSpec(BaseModel):
    inputs: dict[str, TypedPortInfo] = {}
    outputs: dict[str, TypedPortInfo] = {}


class FunctionVersionInfo(BaseModel):
    id: str
    name: str
    description: str | None = None
    version: str
    handler: str | None = None
    entrypoint: list[str] | None = None
    dockerfile: str | None = None
    image_ref: str | None = None
    checksum: str
    status: str
    created_at: str
    io_spec: FunctionIoSpec | None = None
    units: str = "SI"  # ours: the unit system of its numbers


class FunctionVersionDetailResponse(FunctionVersionInfo):
    package_id: str
    package_name: str
    runtime: str
    memory_mb: int
    timeout: int


class PackageResponse(BaseModel):
    id: str
    name: str
    description: str | None = None
    version: str
    status: PackageStatus
    git_url: str | None = None
    git_ref: str | None = None
    git_commit_sha: str | None = None
    author: str | None = None
    license: str | None = None
    category: str | None = None
    tags: list[str] | None = None
    visibility: PackageVisibility = PackageVisibility.PRIVATE
    organization_id: str | None = None
    organization_slug: str | None = None
    is_archived: bool = False
    archived_at: str | None = None
    yanked_at: str | None = None
    functions: list[FunctionVersionInfo] = []
    created_at: str
    updated_at: str
    owner_id: str


class PackageListResponse(BaseModel):
    packages: list[PackageResponse]
    total: int


class PackageDeployResponse(BaseModel):
    package: PackageResponse
    functions_deployed: int
    functions_updated: int = 0
    functions_unchanged: int = 0
    validation_results: dict[str, Any] | None = None
    deployment_qualified: bool = True


class PackageVisibilityUpdate(BaseModel):
    visibility: PackageVisibility


class VersionAnswer(BaseModel):
    """One immutable version (ours)."""

    id: str
    version: str
    status: str
    created_at: str
    yanked_at: str | None
    build_log: str
    report: dict[str, Any]


class VersionList(BaseModel):
    versions: list[VersionAnswer]


class FileUploadResponse(BaseModel):
    upload_id: str
    var_name: str
    filename: str
    extension: str
    size_bytes: int
    content_type: str | None = None


class FunctionExecuteRequest(BaseModel):
    payload: dict[str, Any] | None = None
    file_inputs: dict[str, str] | None = None
    async_execution: bool = False


class JobSubmitResponse(BaseModel):
    job_id: str
    function_id: str
    status: JobStatus = JobStatus.PENDING
    message: str = "Job submitted successfully"


class JobSummary(BaseModel):
    job_id: str
    function_id: str
    function_name: str | None = None
    status: JobStatus
    error: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_ms: int | None = None


class JobListResponse(BaseModel):
    jobs: list[JobSummary] = []
    total: int


class JobStatusResponse(BaseModel):
    job_id: str
    function_id: str
    function_name: str | None = None
    function_version: str | None = None
    function_checksum: str | None = None
    package_name: str | None = None
    package_version: str | None = None
    status: JobStatus
    error: str | None = None
    started_at: str | None = None
    completed_at: str | None = None


class JobResultResponse(BaseModel):
    job_id: str
    function_id: str
    status: JobStatus
    result: dict[str, Any] | None = None
    inputs: dict[str, Any] | None = None
    error: str | None = None
    duration_ms: int | None = None
    memory_used_mb: int | None = None


class JobLogChunk(BaseModel):
    kind: Annotated[str, Field(pattern="^(stdout|stderr)$")]
    chunk: str


class JobLogsResponse(BaseModel):
    job_id: str
    entries: list[JobLogChunk] = []
    next_index: int
    done: bool


class OrganizationSummary(BaseModel):
    id: str
    slug: str
    display_name: str
    my_role: OrganizationRole
    member_count: int
    package_count: int = 0


class OrganizationListResponse(BaseModel):
    organizations: list[OrganizationSummary] = []
    total: int


class OrganizationMemberResponse(BaseModel):
    user_id: str
    email: str | None = None
    role: OrganizationRole
    joined_at: str


class OrganizationResponse(BaseModel):
    id: str
    slug: str
    display_name: str
    created_at: str
    members: list[OrganizationMemberResponse] = []
    member_count: int
    admin_count: int
    my_role: OrganizationRole | None = None


class OrganizationCreateRequest(BaseModel):
    display_name: Annotated[str, Field(min_length=1, max_length=100)]
    slug: Annotated[str, Field(min_length=2, max_length=50)]


class OrganizationDeleteRequest(BaseModel):
    confirm_slug: str


class OrganizationMemberUpdateRequest(BaseModel):
    role: OrganizationRole


class CanonicalTypeModel(BaseModel):
    name: str
    kind: str
    parent: str | None = None
    category: str
    unit: str | None = None
    description: str = ""
    fields: dict[str, str] | None = None
    element_type: str | None = None
    length: int | None = None


class TypesCatalogResponse(BaseModel):
    types: list[CanonicalTypeModel]
    categories: list[str] = []


class CheckConnectionRequest(BaseModel):
    source: Annotated[str, Field(max_length=10_000)]
    target: Annotated[str, Field(max_length=10_000)]


class CheckConnectionResponse(BaseModel):
    compatibility: str
    reason: str
    source: str
    target: str


class PackageFound(BaseModel):
    package_id: str
    name: str
    owner: str
    version: str


class ArchiveUploadResponse(BaseModel):
    message: str
    original_filename: str
    uploaded_filename: str
    md5: str
    size: int


class Message(BaseModel):
    message: str
    status: str
    version: str


class Health(BaseModel):
    status: str


class ProtectedAnswer(BaseModel):
    message: str
    user_info: UserInfo
    endpoint: str


class AdminAnswer(BaseModel):
    message: str
    admin_access: bool
    endpoint: str
