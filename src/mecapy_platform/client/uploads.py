"""Uploads: a file of this machine for one File port of a function."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mecapy_platform.client.records import build
from mecapy_platform.client.transport import Call, Transport
from mecapy_platform.core.errors import InvalidInputError


@dataclass(frozen=True)
class Upload:
    """A stored input file; its id goes into `files` of a submission."""

    upload_id: str
    var_name: str
    filename: str
    extension: str
    size_bytes: int
    content_type: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(cls, data)


class Uploads:
    """Calls about uploads."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, package_id: str, function: str, port: str, path: Path) -> Upload:
        """Stream one file; sent twice it makes a second upload that nobody uses, which does no harm."""
        try:
            stream = path.open("rb")
        except OSError as error:
            raise InvalidInputError(
                "file_unreadable", f"Cannot read {path} for the port '{port}': {error.strerror}."
            ) from error
        with stream:
            files = {"file": (path.name, stream, "application/octet-stream")}
            address = f"/packages/{package_id}/functions/{function}/uploads"
            return Upload.from_json(self._transport.json(Call("POST", address, fields={"var_name": port}, files=files)))
