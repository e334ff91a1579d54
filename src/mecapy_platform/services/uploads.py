"""Files handed in ahead of a task: checked against the File port they are for, stored, then named by id."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_submit
from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.ids import new_id
from mecapy_platform.core.types import file_extensions
from mecapy_platform.db.tables import Upload
from mecapy_platform.services.packages import read as packages
from mecapy_platform.storage import keys
from mecapy_platform.storage.base import Stored


@dataclass(frozen=True)
class Accepted:
    """A place for one upload: checked, not yet stored."""

    upload_id: UUID
    organization_id: UUID
    function_id: UUID | None
    var_name: str
    filename: str
    extension: str

    @property
    def key(self) -> str:
        return keys.upload_key(self.organization_id, self.upload_id)


def accept(
    session: Session, actor: Actor, package_id: UUID, function_name: str, *, var_name: str, filename: str
) -> Accepted:
    """Check that the port takes this file, before a byte of it is stored."""
    view = packages.get(session, actor, package_id)
    require_submit(actor, view.package.organization_id)
    function = packages.function_of(view, function_name)
    extension = filename.rpartition(".")[2].lower() if "." in filename else ""
    if function.inputs is not None:
        _check_port(function.inputs.get(var_name), var_name, extension)
    return Accepted(new_id(), view.package.organization_id, function.id, var_name, filename, extension)


def accept_archive(actor: Actor, *, filename: str) -> Accepted:
    """A place for an archive that belongs to no function, in the caller's own organization."""
    personal = next(item for item in actor.visible if item.is_personal)
    return Accepted(new_id(), personal.organization_id, None, "archive", filename, "zip")


def record(session: Session, actor: Actor, accepted: Accepted, stored: Stored, content_type: str | None) -> Upload:
    upload = Upload(
        id=accepted.upload_id,
        organization_id=accepted.organization_id,
        user_id=actor.user_id,
        function_id=accepted.function_id,
        var_name=accepted.var_name,
        filename=accepted.filename,
        extension=accepted.extension,
        content_type=content_type,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        key=stored.key,
    )
    session.add(upload)
    session.flush()
    return upload


def _check_port(port: dict[str, object] | None, var_name: str, extension: str) -> None:
    expression = str(port["type"]) if port else ""
    if not expression.startswith("File"):
        message = f"The function has no File input named {var_name!r}."
        raise InvalidInputError("not_a_file_port", message, problems=[Problem("var_name", "not_a_file_port", message)])
    allowed = file_extensions(expression)
    if allowed and extension not in allowed:
        message = f"The input {var_name} takes {', '.join('.' + item for item in sorted(allowed))}, not .{extension}."
        raise InvalidInputError("wrong_extension", message, problems=[Problem("file", "wrong_extension", message)])
