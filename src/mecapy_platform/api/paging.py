"""Cursors of keyset paging: the place after the last row seen, opaque to clients.

A made-up one shows nothing that is not theirs.
"""

import base64
import binascii
from datetime import UTC, datetime
from uuid import UUID

from mecapy_platform.core.errors import InvalidInputError, Problem

Place = tuple[datetime, UUID]


def write_cursor(created_at: datetime, row_id: UUID) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()}|{row_id}".encode()).rstrip(b"=").decode()


def read_cursor(cursor: str) -> Place:
    try:
        created_at, _, row_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition("|")
        moment = datetime.fromisoformat(created_at)
        return moment.astimezone(UTC), UUID(row_id)
    except (ValueError, OverflowError, binascii.Error) as error:
        message = "Send `next_cursor` of the page before, unchanged."
        raise InvalidInputError(
            "cursor_invalid", message, problems=[Problem("cursor", "cursor_invalid", message)]
        ) from error
