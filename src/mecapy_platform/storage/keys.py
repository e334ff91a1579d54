"""Keys of stored objects. Every part is an id or a name escaped here; a user's naming never makes a path."""

import hashlib
import re
from urllib.parse import quote
from uuid import UUID

from mecapy_platform.core.errors import NotFoundError

PART_BYTES = 180
KEY_BYTES = 900
KEY = re.compile(r"[A-Za-z0-9_.~%-]+(/[A-Za-z0-9_.~%-]+)*/?")


def attempt_prefix(organization_id: UUID, task_id: UUID, attempt: int) -> str:
    """Everything that one attempt stored; removed whole when the attempt does not count."""
    return f"org/{organization_id}/task/{task_id}/attempt/{attempt}/"


def output_key(organization_id: UUID, task_id: UUID, attempt: int, kind: str, name: str) -> str:
    """An output file or an artifact; `name` may hold slashes, which stay one escaped part each."""
    escaped = "/".join(_part(piece) for piece in name.split("/"))
    if len(escaped) > KEY_BYTES:
        escaped = _digest(name)
    return f"{attempt_prefix(organization_id, task_id, attempt)}{kind}/{escaped}"


def result_key(organization_id: UUID, task_id: UUID, attempt: int, value_id: UUID) -> str:
    """A result too large for its row. `value_id`: two tasks may carry a call, each in its first attempt."""
    return f"{attempt_prefix(organization_id, task_id, attempt)}result-{value_id}.json"


def value_key(organization_id: UUID, value_id: UUID) -> str:
    """Inputs too large for their task's row, which a retry shares: no task stands in their key."""
    return f"org/{organization_id}/value/{value_id}.json"


def package_key(organization_id: UUID, package_id: UUID, version_id: UUID) -> str:
    return f"org/{organization_id}/package/{package_id}/{version_id}.zip"


def image_key(organization_id: UUID, version_id: UUID) -> str:
    """The image that a version was built to, for nodes that do not have it."""
    return f"org/{organization_id}/image/{version_id}.tar"


def upload_key(organization_id: UUID, upload_id: UUID) -> str:
    return f"org/{organization_id}/upload/{upload_id}"


def checked(key: str) -> str:
    """A key that stays below its root: no empty part, no `.` or `..`, nothing unescaped. Anything else is absent."""
    parts = key.removesuffix("/").split("/")
    if not KEY.fullmatch(key) or any(part in {".", ".."} or len(part) > 255 for part in parts):
        raise NotFoundError("object_not_found", "There is no such stored object.")
    return key


def _part(text: str) -> str:
    """One escaped part. A long one keeps its beginning and gets a digest, as file systems end at 255 bytes."""
    if text in {"", ".", ".."}:
        return "_" + "_" * len(text)
    escaped = quote(text, safe="", errors="surrogateescape")
    return escaped if len(escaped) <= PART_BYTES else f"{escaped[:100].rstrip('%')}~{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
