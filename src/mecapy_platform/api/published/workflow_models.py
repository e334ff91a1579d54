"""Bodies and answers of the published workflow API, field by field as its document has them; ours beside them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from mecapy_platform.core.workflows.graph import MAX_GRAPH_BYTES

KINDS = (
    "function or input, as published; ours: constant, expression, assume_unit, workflow, map, if, switch, loop, "
    "approval, delay. Each has further fields of its own, see docs/reference/graphs.md."
)


class WorkflowCreateRequest(BaseModel):
    slug: Annotated[str, Field(min_length=1, max_length=100)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: Annotated[str | None, Field(max_length=1000)] = None
    organization_slug: Annotated[str | None, Field(description="The organization; yourself when left out.")] = None


class InputNodeSpec(BaseModel):
    """The typed value that an input node takes from who starts a run."""

    label: str
    type_expr: str | dict[str, Any]
    description: str | None = None
    required: bool = True
    default: Any | None = None


class WorkflowNodeModel(BaseModel):
    model_config = ConfigDict(extra="allow")

    node_key: str
    node_kind: Annotated[str, Field(description=KINDS)] = "function"
    function_version_id: str | None = None
    input_spec: InputNodeSpec | None = None
    position_x: float = 0.0
    position_y: float = 0.0
    custom_label: str | None = None


class WorkflowEdgeModel(BaseModel):
    source_node_key: str
    source_port: str
    target_node_key: str
    target_port: str
    alias: str | None = None


def _listed(what: str) -> WithJsonSchema:
    """Shown in the document as objects, and taken as they come."""
    return WithJsonSchema({"type": "array", "items": {"type": "object"}, "description": f"As `{what}` of a version."})


class WorkflowVersionRequest(BaseModel):
    """A graph. Its nodes and edges are read by core/workflows/read, which says all that is wrong with them at once."""

    model_config = ConfigDict(extra="forbid")

    nodes: Annotated[list[Any], _listed("nodes")] = []
    edges: Annotated[list[Any], _listed("edges")] = []
    on_failure: Annotated[str | None, Field(description="The node that starts when a run fails.")] = None
    document: Annotated[
        str | None,
        Field(max_length=MAX_GRAPH_BYTES, description="The YAML that the graph was read from; kept as it is."),
    ] = None


class WorkflowVersionResponse(BaseModel):
    id: str
    version: int
    is_latest: bool
    created_at: str
    nodes: list[WorkflowNodeModel]
    edges: list[WorkflowEdgeModel]
    on_failure: str | None = None
    warnings: Annotated[list[dict[str, Any]], Field(description="Of a version just saved.")] = []


class WorkflowResponse(BaseModel):
    id: str
    slug: str
    name: str
    description: str | None
    owner_id: str
    organization_id: str | None
    organization_slug: str | None
    created_at: str
    updated_at: str
    latest_version: WorkflowVersionResponse | None
    visibility_effective: Annotated[str, Field(description="private, internal@SLUG or public")]
    archived_at: str | None = None


class WorkflowSummary(BaseModel):
    id: str
    slug: str
    name: str
    owner_id: str
    organization_slug: str | None
    node_count: int
    visibility_effective: str
    updated_at: str
    archived_at: str | None = None


class WorkflowListResponse(BaseModel):
    workflows: list[WorkflowSummary]
    total: int


class WorkflowFound(BaseModel):
    workflow_id: str
    slug: str
    owner: str
    version: str


class VersionSummary(BaseModel):
    id: str
    version: int
    is_latest: bool
    created_at: str
    created_by: str
    node_count: int


class VersionDocument(BaseModel):
    """The YAML that a version was saved with; null where there was none."""

    document: str | None


class VersionSummaries(BaseModel):
    versions: list[VersionSummary]
