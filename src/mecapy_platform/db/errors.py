"""The one place that catches what SQLAlchemy and psycopg raise, and says it in errors of ours."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mecapy_platform.core.errors import ConflictError, InvalidInputError, MecapyError, UnavailableError
from mecapy_platform.db.interface import NOT_SERVED

log = logging.getLogger(__name__)
AWAY = "The database cannot be reached right now; try again in a few seconds."
UNFIT = "A value holds characters or numbers that cannot be stored."
NOT_SERVED_HERE = (
    "The database is of another version of the platform than this program; start the platform's version in its place."
)
CHANGED = "Somebody else changed the same thing at the same moment; look again, then repeat."


class DatabaseError(MecapyError):
    """What a statement met. `detail`: the first line of what the driver said, for logs alone."""

    detail: str = ""


class DatabaseAwayError(DatabaseError, UnavailableError):
    """The connection could not be made or was lost: then nobody knows whether the statement was committed."""


class ValueNotStorableError(DatabaseError, InvalidInputError):
    """A value that the type of its column cannot hold."""


class RowConflictError(DatabaseError, ConflictError):
    """A constraint between rows stands against it."""


class StatementError(DatabaseError):
    """The statement itself failed: our fault."""


class NotServedError(DatabaseError):
    """The database was made for another version of the platform than this program."""


@contextmanager
def translated() -> Iterator[None]:
    """Whatever a driver raises inside leaves as one of the errors above."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        raise translate(error) from error


def translate(error: SQLAlchemyError | psycopg.Error) -> DatabaseError:
    """The error of ours that says the same."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        made: DatabaseError = DatabaseAwayError("unavailable", AWAY)
    elif isinstance(
        error, OperationalError | InterfaceError | PoolTimeoutError | psycopg.OperationalError | psycopg.InterfaceError
    ):
        made = DatabaseAwayError("unavailable", AWAY)
    elif _sqlstate(error) == NOT_SERVED:
        made = NotServedError("version_not_served", NOT_SERVED_HERE)
    elif isinstance(error, DataError | psycopg.DataError):
        made = ValueNotStorableError("value_not_storable", UNFIT)
    elif isinstance(error, IntegrityError | psycopg.IntegrityError):
        made = RowConflictError("conflict", CHANGED)
    else:
        made = StatementError("database_error", "The platform asked its database something it does not understand.")
    lines = str(error).splitlines()
    made.detail = lines[0] if lines else type(error).__name__
    log.log(logging.ERROR if type(made) is StatementError else logging.INFO, "database: %s", made.detail)
    return made


def _sqlstate(error: SQLAlchemyError | psycopg.Error) -> str | None:
    raised = error.orig if isinstance(error, DBAPIError) else error
    return raised.sqlstate if isinstance(raised, psycopg.Error) else None
