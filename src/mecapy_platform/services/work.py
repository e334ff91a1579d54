"""A unit of work at the edge: one transaction in the scope of a tenant.

What the database says wrong becomes an error of ours.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from mecapy_platform.core.errors import ConflictError, InvalidInputError, UnavailableError
from mecapy_platform.db.session import Database

__all__ = ["Session", "unit"]
log = logging.getLogger(__name__)


@contextmanager
def unit(database: Database, organizations: Sequence[UUID], user_id: UUID) -> Iterator[Session]:
    """Commits at the end, rolls back on an error; sees the rows of these organizations alone."""
    with _translated(), database.scoped(organizations, user_id) as session:
        yield session


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        log.warning("database: %s", str(error).splitlines()[0])
        raise UnavailableError(
            "unavailable", "The database cannot be reached right now; try again in a few seconds."
        ) from error
    except DataError as error:
        raise InvalidInputError(
            "value_not_storable", "A value holds characters or numbers that cannot be stored."
        ) from error
    except IntegrityError as error:
        log.info("integrity: %s", str(error).splitlines()[0])
        raise ConflictError(
            "conflict", "Somebody else changed the same thing at the same moment; look again, then repeat."
        ) from error
