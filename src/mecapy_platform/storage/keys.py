"""Keys of stored objects. Every part is an id or a name escaped here; a user's naming never makes a path."""

from urllib.parse import quote
from uuid import UUID


def attempt_prefix(organization_id: UUID, task_id: UUID, attempt: int) -> str:
    """Everything that one attempt stored; removed whole when the attempt does not count."""
    return f"org/{organization_id}/task/{task_id}/attempt/{attempt}/"


def output_key(organization_id: UUID, task_id: UUID, attempt: int, kind: str, name: str) -> str:
    """An output file or an artifact; `name` may hold slashes, which stay one escaped part each."""
    return f"{attempt_prefix(organization_id, task_id, attempt)}{kind}/{'/'.join(_part(piece) for piece in name.split('/'))}"


def result_key(organization_id: UUID, task_id: UUID, attempt: int) -> str:
    return f"{attempt_prefix(organization_id, task_id, attempt)}result.json"


def package_key(organization_id: UUID, package_id: UUID, version_id: UUID) -> str:
    return f"org/{organization_id}/package/{package_id}/{version_id}.zip"


def upload_key(organization_id: UUID, upload_id: UUID) -> str:
    return f"org/{organization_id}/upload/{upload_id}"


def _part(text: str) -> str:
    return quote(text, safe="") if text not in {"", ".", ".."} else "_" + "_" * len(text)
