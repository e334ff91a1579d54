"""Engines and sessions. A tenant's session carries its organizations into row-level security, per transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from mecapy_platform.db.errors import translated
from mecapy_platform.db.interface import CONNECT_OPTION

SET_SCOPE = text(
    "SELECT set_config('mecapy.organizations', :organizations, true), set_config('mecapy.user_id', :user_id, true)"
)
WIDEN_SCOPE = text("""
SELECT set_config(
    'mecapy.organizations', concat_ws(',', nullif(current_setting('mecapy.organizations', true), ''),
        cast(:organization AS text)), true
)
""")


def make_engine(url: str, *, pool_size: int = 10) -> Engine:
    """An engine that notices a restarted PostgreSQL before it hands out a dead connection."""
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=10,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "connect_timeout": 5,
            "options": f"-c statement_timeout=30000 -c idle_in_transaction_session_timeout=60000 {CONNECT_OPTION}",
        },
    )


class Database:
    """One role's way into the database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._session = sessionmaker(engine, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session of the platform (role mecapy_worker): commits at the end, rolls back on an error."""
        with translated(), self._session.begin() as session:
            yield session

    @contextmanager
    def scoped(self, organizations: Sequence[UUID], user_id: UUID) -> Iterator[Session]:
        """A session of a tenant (role mecapy_app): sees the rows of these organizations alone."""
        with translated(), self._session.begin() as session:
            set_scope(session, organizations, user_id)
            yield session

    def dispose(self) -> None:
        self.engine.dispose()


def widen_scope(session: Session, organization_id: UUID) -> None:
    """Let this transaction see one more organization: the one it is about to make."""
    session.execute(WIDEN_SCOPE, {"organization": str(organization_id)})


def set_scope(session: Session, organizations: Sequence[UUID], user_id: UUID) -> None:
    """`SET LOCAL` of the tenant: holds until the transaction ends, so it never leaks through the pool."""
    session.execute(
        SET_SCOPE,
        {"organizations": ",".join(str(organization) for organization in organizations), "user_id": str(user_id)},
    )
