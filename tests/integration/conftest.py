"""A migrated database for each module that asks for `server` or `database`."""

from collections.abc import Iterator

import pytest

from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.embedded.postgres import Postgres
from support.platform.services import fresh_database


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with fresh_database() as running:
        yield running


@pytest.fixture(scope="module")
def database(server: Postgres) -> Iterator[Database]:
    """As the worker's role."""
    opened = Database(make_engine(server.worker_url))
    yield opened
    opened.dispose()
