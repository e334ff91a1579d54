"""From JSON to frozen records: names the record knows are taken, others are left for newer clients."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

Record = TypeVar("Record")


def build(kind: type[Record], data: Mapping[str, Any], **converted: Any) -> Record:
    """A dataclass from the JSON object `data`; `converted` replaces the values that need more than copying."""
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    taken = {name: value for name, value in data.items() if name in names}
    return kind(**{**taken, **converted})


def moment(text: Any) -> datetime | None:
    """An ISO 8601 instant as an aware datetime; None stays None."""
    if not isinstance(text, str):
        return None
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=UTC)
