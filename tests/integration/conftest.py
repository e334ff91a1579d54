"""A migrated database for each module that asks for `server` or `database`, for each test that asks for `own_..`."""

from collections.abc import Iterator

import pytest

from mecapy_platform.db.session import Database
from mecapy_platform.embedded.postgres import Postgres
from support.platform.services import fresh_database, opened


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with fresh_database() as running:
        yield running


@pytest.fixture(scope="module")
def database(server: Postgres) -> Iterator[Database]:
    """As the worker's role."""
    with opened(server.worker_url) as database:
        yield database


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """For a test that would meet what another left, or leave what another would meet."""
    with fresh_database() as running:
        yield running


@pytest.fixture
def own_database(own_server: Postgres) -> Iterator[Database]:
    """As the worker's role."""
    with opened(own_server.worker_url) as database:
        yield database
