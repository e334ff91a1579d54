"""Published paths that take files."""

from typing import Annotated, BinaryIO

from fastapi import APIRouter, File, Form, UploadFile
from starlette.concurrency import run_in_threadpool

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, PublishedCaller
from mecapy_platform.api.digests import md5_of
from mecapy_platform.api.published.models import ArchiveUploadResponse, FileUploadResponse
from mecapy_platform.api.published.views import parse_id
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.core.errors import InvalidInputError, MalformedError
from mecapy_platform.services import uploads
from mecapy_platform.services.uploads import Accepted
from mecapy_platform.storage.archives import read_manifest
from mecapy_platform.storage.base import try_delete

router = APIRouter(route_class=StrictRoute)
FORBIDDEN = str.maketrans("", "", "\0\r\n")


@router.post(
    "/packages/{package_id}/functions/{function_name}/uploads",
    operation_id="upload_function_file",
    status_code=201,
    tags=["packages"],
    responses=problems(400, 507),
)
async def upload_function_file(
    package_id: str,
    function_name: str,
    caller: PublishedCaller,
    var_name: Annotated[str, Form(max_length=255, description="The File input that this file is for.")],
    file: Annotated[UploadFile, File(description="Any content.")],
) -> FileUploadResponse:
    """Store a file for a File input; name its `upload_id` when you submit."""
    if "\0" in var_name:
        raise InvalidInputError("not_a_file_port", "A port's name holds no NUL.")
    return await run_in_threadpool(_upload, caller, package_id, function_name, var_name, file)


@router.post("/upload/archive", operation_id="upload_archive", tags=["uploads"], responses=problems(400, 507))
async def upload_archive(
    caller: PublishedCaller, file: Annotated[UploadFile, File(description="A zip.")]
) -> ArchiveUploadResponse:
    """Store a zip for later; deploying it is another call."""
    async with caller.context.readers:
        await run_in_threadpool(_check, file.file)
    return await run_in_threadpool(_archive, caller, file)


def _upload(caller: Caller, package_id: str, function_name: str, var_name: str, file: UploadFile) -> FileUploadResponse:
    package = parse_id(package_id, "package")
    with caller.session() as session:
        accepted = uploads.accept(
            session, caller.actor, package, function_name, var_name=var_name, filename=_filename(file)
        )
    _store(caller, accepted, file.file, _content_type(file))
    return FileUploadResponse(
        upload_id=str(accepted.upload_id),
        var_name=var_name,
        filename=accepted.filename,
        extension=accepted.extension,
        size_bytes=file.size or 0,
        content_type=_content_type(file),
    )


def _check(file: BinaryIO) -> None:
    try:
        read_manifest(file)
    except InvalidInputError as error:
        raise MalformedError(error.code, error.message, problems=error.problems) from error


def _archive(caller: Caller, file: UploadFile) -> ArchiveUploadResponse:
    md5 = md5_of(file.file)
    accepted = uploads.accept_archive(caller.actor, filename=_filename(file))
    _store(caller, accepted, file.file, _content_type(file))
    return ArchiveUploadResponse(
        message="Archive uploaded successfully",
        original_filename=accepted.filename,
        uploaded_filename=f"{accepted.upload_id}.zip",
        md5=md5,
        size=file.size or 0,
    )


def _store(caller: Caller, accepted: Accepted, source: BinaryIO, content_type: str | None) -> None:
    """The object first, then its row; without the row the object goes again."""
    storage = caller.context.storage
    source.seek(0)
    stored = storage.put(accepted.key, source, limit_bytes=caller.context.settings.upload_bytes)
    try:
        with caller.session() as session:
            uploads.record(session, caller.actor, accepted, stored, content_type)
    except BaseException:
        try_delete(storage, accepted.key)
        raise


def _filename(file: UploadFile) -> str:
    """The last part of what the client sent, without what no header could carry."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2].translate(FORBIDDEN)
    return name[-255:] or "file"


def _content_type(file: UploadFile) -> str | None:
    return file.content_type.translate(FORBIDDEN)[:255] if file.content_type else None
