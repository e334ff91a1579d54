"""Starts each backend's platform once a session, and writes what every case tried to build/attacks-<backend>.txt."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from security.attack_platform import Attacked, attacked
from security.attack_table import Table
from security.backends import BACKENDS, Backend
from security.cases import CASES


@pytest.fixture(scope="session", params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    one: Backend = request.param
    if reason := one.missing():
        if os.environ.get("MECAPY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{one.name}: {reason}")
        pytest.skip(f"{one.name}: {reason}")
    return one


@pytest.fixture(scope="session")
def under_attack(backend: Backend, request: pytest.FixtureRequest) -> Iterator[Attacked]:
    wanted = {spec.params["case"] for spec in _specs(request.session.items) if spec.params.get("backend") is backend}
    with attacked(backend, [case for case in CASES if case in wanted]) as running:
        yield running


def _specs(items: list[pytest.Item]) -> list[Any]:
    specs = [getattr(item, "callspec", None) for item in items]
    return [spec for spec in specs if spec is not None and "case" in spec.params]


@pytest.fixture(scope="session")
def table(backend: Backend, request: pytest.FixtureRequest) -> Iterator[Table]:
    made = Table(backend.name)
    yield made
    made.write(request.config.rootpath / "build")
