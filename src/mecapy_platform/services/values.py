"""Values of tasks that are too large for their row: they lie in storage, and a row of stored_values says where.

Three steps make one, so that a crash between them loses nothing and leaves nothing for ever: its row is committed, its
object is written, the task that refers to it is committed. A row that no task refers to was left by a crash, or by its
last task: the relay removes the object, then the row. A task refers to a value that was made for it just now, or to
that of a task which stays while this is written; so what nobody refers to stays that way.
"""

import io
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.core.ids import new_id
from mecapy_platform.db import values as statements
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import StoredValue
from mecapy_platform.storage.base import Storage, try_delete
from mecapy_platform.storage.keys import value_key

CHUNK_BYTES = 1 << 20
UNNEEDED_AFTER = timedelta(hours=1)  # a submit has some minutes to the end of its transaction
FREED_AT_ONCE = 200
DAMAGED = "stored_value_damaged"


@dataclass(frozen=True)
class ValueStore:
    """`transaction`: one of its own, beside that of the task. `row_bytes`: what a task's row holds at most."""

    storage: Storage
    transaction: Callable[[], AbstractContextManager[Session]]
    row_bytes: int

    def is_large(self, inputs: Mapping[str, Any]) -> bool:
        return len(text_of(inputs)) > self.row_bytes

    def keep(self, organization_id: UUID, inputs: Mapping[str, Any]) -> UUID | None:
        """Put large inputs into storage, for a task that is committed right after. None: they belong in its row."""
        text = text_of(inputs)
        if len(text) <= self.row_bytes:
            return None
        self.storage.check_room(len(text))
        value_id = new_id()
        key = value_key(organization_id, value_id)
        with self.transaction() as session:
            session.add(
                StoredValue(
                    id=value_id,
                    organization_id=organization_id,
                    key=key,
                    size_bytes=len(text),
                    sha256=sha256(text).hexdigest(),
                )
            )
        self.storage.put(key, io.BytesIO(text))
        return value_id

    def load(self, session: Session, organization_id: UUID, value_id: UUID) -> dict[str, Any]:
        """The inputs themselves: for who checks them, in a process that may hold them."""
        owned = (StoredValue.id == value_id, StoredValue.organization_id == organization_id)
        value = session.scalars(select(StoredValue).where(*owned)).one()
        with self.storage.open(value.key) as source:
            text = source.read()
        _check(value.size_bytes, value.sha256, len(text), sha256(text).hexdigest())
        inputs: dict[str, Any] = json.loads(text)
        return inputs


def text_of(inputs: Mapping[str, Any]) -> bytes:
    """As it lies in storage and in in/data.json."""
    return json.dumps(inputs).encode()


def fetch(storage: Storage, key: str, *, size_bytes: int, digest: str, path: Path) -> None:
    """Write a stored value to a new file. Raises UnavailableError where it is not what was stored."""
    read, seen = sha256(), 0
    with storage.open(key) as source, path.open("xb") as target:
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
            read.update(chunk)
            seen += len(chunk)
    _check(size_bytes, digest, seen, read.hexdigest())


def free_unneeded(database: Database, storage: Storage) -> int:
    """Remove what no task refers to; the row last, so that no object is left without a row that names it."""
    wanted = {"kept": UNNEEDED_AFTER, "most": FREED_AT_ONCE}
    with database.transaction() as session:
        unneeded = session.execute(statements.UNNEEDED, wanted).all()
    freed = [value_id for value_id, key in unneeded if try_delete(storage, key)]
    if freed:
        with database.transaction() as session:
            session.execute(statements.FORGET, {"ids": freed})
    return len(freed)


def _check(size_bytes: int, digest: str, seen_bytes: int, seen_digest: str) -> None:
    if (size_bytes, digest) != (seen_bytes, seen_digest):
        raise UnavailableError(DAMAGED, "A stored value is not as it was stored; an operator must look at the storage.")
