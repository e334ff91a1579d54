"""Builds reserve memory of their node as tasks do: tasks and builds together never exceed it, and neither starves."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.fast_path import WORKER_STATEMENTS
from mecapy_platform.db.session import Database
from mecapy_platform.db.wire import Wire
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services import builds, claims
from mecapy_platform.services.build_plan import BuildPlan
from mecapy_platform.services.builds import Built
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.services.fast_claim import FastClaim
from mecapy_platform.settings import Settings
from support import factories

SETTINGS = Settings(lease_seconds=15)
NODE = "small"
WORKER = Worker(NODE, "small-1", "fake")
ALL_MB = 4096


@pytest.fixture
def server(own_server: Postgres) -> Postgres:
    return own_server


@pytest.fixture
def database(own_database: Database) -> Database:
    with own_database.transaction() as session:
        factories.see_node(session, NODE, memory_mb=ALL_MB)
    return own_database


def deployed(database: Database) -> BuildPlan:
    """A version that waits, of an organization of its own, claimed by a builder."""
    with database.transaction() as session:
        organization = factories.organization_of(session)
    factories.ready_package(database, organization, uuid4(), name=factories.unique("p"), status="building")
    with database.transaction() as session:
        found = builds.claim_build(session, SETTINGS.queue_rules)
    assert found is not None
    return found


def reserve(database: Database, build: BuildPlan, memory_mb: int) -> bool | None:
    with database.transaction() as session:
        return builds.reserve(session, build.token, NODE, memory_mb)


def has_room(database: Database, build: BuildPlan) -> bool | None:
    with database.transaction() as session:
        return builds.has_room(session, build.token)


def finish(database: Database, build: BuildPlan) -> None:
    with database.transaction() as session:
        assert builds.finish_build(session, build.token, Built(log=""))


def add_tasks(database: Database, count: int, memory_mb: int = 1024) -> None:
    with database.transaction() as session:
        organization = factories.organization_of(session)
    package = factories.ready_package(database, organization, uuid4(), name=factories.unique("p"))
    function = next(iter(package.functions.values()))
    with database.transaction() as session:
        for number in range(1, count + 1):
            task = factories.queued_task(
                organization, package.version_id, function, number, memory_mb=memory_mb, lane="high_priority"
            )
            session.add(task)


def claim(database: Database) -> list[Claim]:
    with database.transaction() as session:
        return list(claims.claim(session, WORKER, Lane.HIGH_PRIORITY, 10, SETTINGS.queue_rules))


def end(database: Database, token: UUID) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE attempts SET ended_at = now() WHERE token = :token"), {"token": token})


def test_tasks_take_no_memory_that_a_build_has_reserved(database: Database) -> None:
    build = deployed(database)
    assert reserve(database, build, 2048)
    add_tasks(database, 4)
    assert len(claim(database)) == 2
    assert claim(database) == []
    finish(database, build)
    assert len(claim(database)) == 2


def test_the_fast_path_of_a_claim_sees_what_builds_have_reserved(database: Database, server: Postgres) -> None:
    assert claim(database) == []  # the lane is known from here on
    build = deployed(database)
    assert reserve(database, build, 2048)
    add_tasks(database, 4)
    wire = Wire(server.worker_url, WORKER_STATEMENTS)
    try:
        fast = FastClaim(wire, database, WORKER, SETTINGS.queue_rules, Lane.HIGH_PRIORITY)
        with fast.claim(4) as found:
            assert found is None, "somebody must choose"
        with fast.claim(2) as found:
            assert len(found or ()) == 2
        with fast.claim(1) as found:
            assert found is None
        finish(database, build)
        with fast.claim(2) as found:
            assert len(found or ()) == 2
    finally:
        wire.close()


def test_a_build_begins_once_enough_tasks_have_ended_and_none_takes_their_place(database: Database) -> None:
    add_tasks(database, 6)
    running = claim(database)
    assert len(running) == 4
    build = deployed(database)
    assert not reserve(database, build, 2048)
    end(database, running[0].token)
    assert claim(database) == [], "the build's memory is kept while it comes together"
    assert not has_room(database, build)
    end(database, running[1].token)
    assert has_room(database, build)
    assert claim(database) == []


def test_builds_that_reserve_at_once_go_one_after_another(database: Database) -> None:
    first, second = deployed(database), deployed(database)
    assert reserve(database, first, 3000)
    assert not reserve(database, second, 3000)
    assert has_room(database, first), "who came later holds up nobody before it"
    finish(database, first)
    assert has_room(database, second)


def test_a_build_larger_than_its_node_takes_all_of_it(database: Database) -> None:
    build = deployed(database)
    assert reserve(database, build, 10 * ALL_MB)
    add_tasks(database, 1)
    assert claim(database) == []


def test_what_a_lost_builder_reserved_is_free_after_its_lease(database: Database) -> None:
    build = deployed(database)
    assert reserve(database, build, ALL_MB)
    add_tasks(database, 1)
    assert claim(database) == []
    with database.transaction() as session:
        session.execute(text("UPDATE package_versions SET build_lease_until = now() WHERE status = 'building'"))
    assert len(claim(database)) == 1


def test_a_node_that_nobody_knows_holds_up_no_build(database: Database) -> None:
    build = deployed(database)
    with database.transaction() as session:
        assert builds.reserve(session, build.token, "unknown", 1 << 20)


def test_a_build_that_another_builder_took_over_has_no_room_of_its_own(database: Database) -> None:
    build = deployed(database)
    assert reserve(database, build, 2048)
    with database.transaction() as session:
        session.execute(text("UPDATE package_versions SET build_lease_until = now() - interval '1 s'"))
    with database.transaction() as session:
        again = builds.claim_build(session, SETTINGS.queue_rules)
    assert again is not None
    assert has_room(database, build) is None
    add_tasks(database, 4)
    assert len(claim(database)) == 4, "what the one before had reserved is nobody's"


def test_what_is_not_free_is_not_held_by_a_build_that_only_tries(database: Database) -> None:
    build = deployed(database)
    add_tasks(database, 1)
    (running,) = claim(database)
    with database.transaction() as session:
        assert builds.reserve_if_free(session, build.token, NODE, ALL_MB) is False
    add_tasks(database, 3)
    others = claim(database)
    assert len(others) == 3
    for claimed in (running, *others):
        end(database, claimed.token)
    with database.transaction() as session:
        assert builds.reserve_if_free(session, build.token, NODE, ALL_MB) is True
    add_tasks(database, 1)
    assert claim(database) == []
