"""The contract on containers that were started ahead: each call here is served by one that waited for it."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from integration.sandbox_contract import Bench, ConfinementContract, SandboxContract, bench_for, follow, wait_until
from mecapy_platform.sandbox.base import SandboxSpec
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.docker.waiting_containers import key_of
from support.backends.docker_daemon import TestDaemon, daemon


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    with daemon() as started:
        yield started


@pytest.fixture(scope="module")
def backend(engine: TestDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerSandbox]:
    made = DockerSandbox(DockerOptions(tmp_path_factory.mktemp("runs"), engine.address, warm=3))
    yield made
    made.close()


class WarmAlone:
    """Starts what can wait only in a container that waited; what cannot, as the backend does."""

    name = "docker"
    is_durable = True

    def __init__(self, backend: DockerSandbox) -> None:
        self._backend = backend
        self._turn = threading.Lock()

    def start(self, spec: SandboxSpec) -> Any:
        if not spec.mode.is_call:
            return self._backend.start(spec)
        spec = replace(spec, organization="org", version="1", is_warm=True)
        pool = self._backend._warm
        assert pool is not None
        with self._turn:  # one is kept of each kind
            pool.wish(spec)
            wait_until(lambda: key_of(spec) in pool._waiting, 30)
            run = pool.take(spec)
        assert run is not None
        return run

    def self_test(self) -> Any:
        return self._backend.self_test()

    def find(self, reference: str, seen: Any = None) -> Any:
        raise AssertionError


@pytest.fixture
def bench(backend: DockerSandbox) -> Iterator[Bench]:
    with bench_for(WarmAlone(backend)) as made:
        yield made


class TestWarmContainers(SandboxContract, ConfinementContract):
    """What holds for a container holds for one that waited."""


def specs(bench: Bench) -> SandboxSpec:
    return replace(bench.spec("double", {"value": 2}), organization="org-a", version="1", is_warm=True)


def test_a_container_serves_one_task_and_another_one_is_made_for_the_next(backend: DockerSandbox, bench: Bench) -> None:
    first = backend.start(specs(bench))
    with first:
        assert follow(first).result == {"result": 4}
    pool = backend._warm
    assert pool is not None
    again = specs(bench)
    wait_until(lambda: key_of(again) in pool._waiting, 30)
    waiting = pool._waiting[key_of(again)].run
    second = backend.start(again)
    assert second is waiting
    with second:
        assert follow(second).result == {"result": 4}
    assert first.reference != second.reference


@pytest.mark.parametrize("change", [{"organization": "org-b"}, {"version": "2"}, {"needs": ("ccx",)}])
def test_a_container_of_another_organization_version_or_kind_is_never_given(
    bench: Bench, change: dict[str, Any]
) -> None:
    assert key_of(specs(bench)) != key_of(replace(specs(bench), **change))


def test_the_number_of_waiting_containers_is_bounded(backend: DockerSandbox, bench: Bench) -> None:
    pool = backend._warm
    assert pool is not None
    pool.clear()
    kinds = [replace(specs(bench), organization="org-many", version=str(number)) for number in range(5)]
    for spec in kinds:
        pool.wish(spec)
    wait_until(lambda: key_of(kinds[-1]) in pool._waiting, 60)
    waiting = [key_of(spec) in pool._waiting for spec in kinds]  # on a busy machine not each of them could be made
    assert (waiting[:2], waiting[-1]) == ([False, False], True)


def test_an_organization_s_last_waiting_container_is_not_pushed_out_by_another_s_many(
    backend: DockerSandbox, bench: Bench
) -> None:
    pool = backend._warm
    assert pool is not None
    pool.clear()
    small, *many = (
        replace(specs(bench), organization=name, version=str(number))
        for number, name in enumerate(["small", *["many"] * 5])
    )
    for spec in (small, *many):
        pool.wish(spec)
    wait_until(lambda: key_of(many[-1]) in pool._waiting, 60)
    assert [key_of(spec) in pool._waiting for spec in (small, *many)] == [True, False, False, False, True, True]


def test_a_call_waits_for_a_container_that_is_being_made_for_its_like(backend: DockerSandbox, bench: Bench) -> None:
    pool = backend._warm
    assert pool is not None
    pool.clear()
    spec = replace(specs(bench), organization="org-soon", version="1")
    pool.wish(spec)
    wait_until(lambda: pool._making == key_of(spec), 30)
    run = pool.take(spec)
    assert run is not None, "it was there before one that begins now would have been"
    with run:
        assert follow(run).ended.exit_code == 0


def test_a_kept_run_in_a_container_that_waited_is_listed_and_found_under_its_attempt(
    backend: DockerSandbox, bench: Bench
) -> None:
    pool = backend._warm
    assert pool is not None
    spec = replace(
        bench.spec("counts", {"count": 20, "seconds": 0.05}),
        organization="org-k",
        version="1",
        is_warm=True,
        keep=True,
        attempt=7,
    )
    pool.wish(spec)
    wait_until(lambda: key_of(spec) in pool._waiting, 30)
    run = pool.take(spec)
    assert run is not None
    run.let_go()
    kept = {item.reference: item for item in backend.kept()}[run.reference]
    assert (kept.task_id, kept.attempt, kept.is_attempt) == ("task", 7, True)
    found = backend.find(run.reference)
    assert found is not None
    with found:
        assert follow(found).result == {"result": 20}
    backend.remove(run.reference)
