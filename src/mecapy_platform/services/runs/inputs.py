"""The values of input nodes: checked as those of a task are, and read again whenever a run is advanced."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.types import FileType
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.value_reader import ValueReader
from mecapy_platform.core.workflows.graph import InputSpec
from mecapy_platform.core.workflows.ports import is_nested_file
from mecapy_platform.core.workflows.signatures import parsed
from mecapy_platform.db.tables import Upload
from mecapy_platform.services.runs.loading import LoadedVersion

FILE = "$file"
UPLOAD = "upload:"
ENTRY = ("key", "filename", "extension", "size_bytes", "sha256")


@dataclass(frozen=True)
class FileValue:
    """A file on its way between nodes, as it lies in storage: key, filename, extension, size_bytes, sha256."""

    entry: Mapping[str, Any]

    @classmethod
    def read(cls, value: Any) -> "FileValue":
        """Of what `as_json` has written: by us alone, never of what a person gave."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping) or not isinstance(value.get(FILE), Mapping):
            raise InvalidInputError("inputs_invalid", "A file is asked for here, and what came is none.")
        return cls(value[FILE])

    def as_json(self) -> dict[str, Any]:
        return {FILE: dict(self.entry)}


class MissingInputsError(InvalidInputError):
    """`keys`: of required input nodes that were given nothing."""

    def __init__(self, keys: list[str]) -> None:
        message = f"These inputs are required: {', '.join(keys)}."
        super().__init__("missing_required_inputs", message, report={"missing_required_inputs": keys})
        self.keys = keys


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they are stored, files as where they lie."""
    return {name: value.as_json() if isinstance(value, FileValue) else value for name, value in values.items()}


def stored_file(row: Any) -> FileValue:
    """Of a row that has the columns of an artifact."""
    extension = row.filename.rpartition(".")[2].lower() if "." in row.filename else ""
    return FileValue({name: extension if name == "extension" else getattr(row, name) for name in ENTRY})


def checked_inputs(
    session: Session, version: LoadedVersion, inputs: Mapping[str, Any], user_id: UUID | None, *, is_ours: bool = False
) -> dict[str, Any]:
    """The values of input nodes, numbers in SI, files as they lie, with defaults where nothing was given.

    Parameters
    ----------
    user_id : whose the uploads must be; None where that was judged before, when the run began
    is_ours : whether the inputs were made by the platform for an inner run; only there files are told by where they lie

    Raises
    ------
    MissingInputsError
        With the keys of required input nodes that were given nothing.
    InvalidInputError
        "inputs_invalid" with every problem.
    """
    specs = {node.key: node.input for node in version.graph.nodes.values() if node.input is not None}
    given = {key: inputs.get(key) if inputs.get(key) is not None else spec.default for key, spec in specs.items()}
    missing = [key for key, spec in specs.items() if spec.required and given[key] is None]
    if missing:
        raise MissingInputsError(missing)
    reader = ValueReader(UnitSystem.SI)
    uploads = {} if is_ours else _uploads(session, reader, _files_in(specs, given), user_id)
    read: dict[str, Any] = {}
    for key, value in given.items():
        kind = parsed(specs[key].type_expr)
        if isinstance(kind, FileType) and value is not None:
            read[key] = FileValue.read(value) if is_ours else uploads.get(key)
        elif value is not None and is_nested_file(kind):
            reader.problem(key, "nested_file", f"{key} is {kind}: a File stands alone; give each an input node.")
        elif value is not None:
            read[key] = reader.read(kind, value, key)
    named = ", ".join(specs) or "none"
    for key in inputs.keys() - specs.keys():
        reader.problem(key, "unknown_input", f"{key[:80]!r} is no input node of this workflow. It has: {named}.")
    if reader.problems:
        message = "The inputs do not fit the workflow." if len(reader.problems) > 1 else reader.problems[0].message
        raise InvalidInputError("inputs_invalid", message, problems=reader.problems[:100])
    return read


def keep_uploads(session: Session, inputs: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> None:
    """The files that a run is given stay as long as it does."""
    wanted = [_upload_id(value) for value in _files_in(specs, inputs).values()]
    if wanted:
        session.execute(update(Upload).where(Upload.id.in_(wanted)).values(is_used=True))


def _files_in(specs: Mapping[str, InputSpec], given: Mapping[str, Any]) -> dict[str, Any]:
    files = (key for key, spec in specs.items() if isinstance(parsed(spec.type_expr), FileType))
    return {key: given[key] for key in files if given.get(key) is not None}


def _uploads(
    session: Session, reader: ValueReader, files: Mapping[str, Any], user_id: UUID | None
) -> dict[str, FileValue]:
    if not files:
        return {}
    wanted = {key: _upload_id(value) for key, value in files.items()}
    rows = _found(session, [upload_id for upload_id in wanted.values() if upload_id is not None], user_id)
    for key, upload_id in wanted.items():
        if upload_id not in rows:
            message = f"{key}: there is no such upload, or it has expired; upload the file and give its id."
            reader.problem(key, "upload_not_found", message)
    return {
        key: FileValue({name: getattr(rows[upload_id], name) for name in ENTRY})
        for key, upload_id in wanted.items()
        if upload_id in rows
    }


def _found(session: Session, ids: Iterable[UUID], user_id: UUID | None) -> dict[UUID | None, Upload]:
    query = select(Upload).where(Upload.id.in_(list(ids)))
    if user_id is not None:
        query = query.where(Upload.user_id == user_id)
    return {upload.id: upload for upload in session.scalars(query)}


def _upload_id(value: Any) -> UUID | None:
    try:
        return UUID(str(value).removeprefix(UPLOAD))
    except ValueError:
        return None
