"""A unit of work at the edge: one transaction in the scope of a tenant."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.db.session import Database

__all__ = ["Session", "unit"]


@contextmanager
def unit(database: Database, organizations: Sequence[UUID], user_id: UUID) -> Iterator[Session]:
    """Commits at the end, rolls back on an error; sees the rows of these organizations alone."""
    with database.scoped(organizations, user_id) as session:
        yield session
