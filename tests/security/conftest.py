"""Starts each backend's platform once a session, and writes what every case tried to build/attacks-<backend>.txt."""

import os
from collections.abc import Iterator

import pytest

from security.attack_platform import Attacked, attacked
from security.attack_table import Table
from security.backends import BACKENDS, Backend

TABLES = pytest.StashKey[dict[str, Table]]()


@pytest.fixture(scope="session", params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    one: Backend = request.param
    if reason := one.missing():
        if os.environ.get("MECAPY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{one.name}: {reason}")
        pytest.skip(f"{one.name}: {reason}")
    return one


@pytest.fixture(scope="session")
def under_attack(backend: Backend) -> Iterator[Attacked]:
    with attacked(backend) as one:
        yield one


@pytest.fixture(scope="session")
def table(backend: Backend, request: pytest.FixtureRequest) -> Table:
    tables = request.config.stash.setdefault(TABLES, {})
    return tables.setdefault(backend.name, Table(backend.name))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for one in config.stash.get(TABLES, {}).values():
        terminalreporter.section(f"attacks on {one.name}")
        terminalreporter.write_line(one.write(config.rootpath / "build"))
