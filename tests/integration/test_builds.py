"""Whose version is built next: by turns between organizations, none of which takes every builder."""

import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from mecapy_platform.core.placement import Place
from mecapy_platform.db.schema import migrate
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Function, Organization, PackageVersion
from mecapy_platform.services import builds
from mecapy_platform.services.build_plan import BuildPlan, PlannedFunction
from mecapy_platform.services.builds import Built
from mecapy_platform.settings import Settings
from support import factories
from support.platform.services import postgres

SETTINGS = Settings(organization_max_builds=2)


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with postgres() as running:
        migrate(running.owner_url)
        database = Database(make_engine(running.worker_url))
        yield database
        database.dispose()


@pytest.fixture
def database(server: Database) -> Database:
    with server.transaction() as session:
        session.execute(text("DELETE FROM package_versions"))
    return server


def organization(database: Database) -> UUID:
    with database.transaction() as session:
        return factories.organization_of(session)


def deploy(database: Database, organization_id: UUID, count: int = 1) -> None:
    for _ in range(count):
        name = factories.unique("p")
        factories.ready_package(database, organization_id, uuid4(), name=name, status="building")


def claim(database: Database) -> BuildPlan | None:
    with database.transaction() as session:
        return builds.claim_build(session, SETTINGS.queue_rules)


def end(database: Database, build: BuildPlan) -> None:
    with database.transaction() as session:
        assert builds.finish_build(session, build.token, Built(log=""))


def owner(build: BuildPlan | None) -> UUID:
    assert build is not None
    return build.organization_id


def test_a_flood_of_deploys_does_not_hold_up_another_organization(database: Database) -> None:
    flood, other = organization(database), organization(database)
    deploy(database, flood, 20)
    first = claim(database)
    deploy(database, other)
    assert owner(first) == flood
    assert owner(claim(database)) == other


def test_one_organization_never_takes_every_builder(database: Database) -> None:
    flood, other = organization(database), organization(database)
    deploy(database, flood, 5)
    taken = [claim(database) for _ in range(3)]
    assert [None if build is None else owner(build) for build in taken] == [flood, flood, None]
    deploy(database, other)
    assert owner(claim(database)) == other


def test_organizations_take_turns_whoever_came_first(database: Database) -> None:
    first, second, third = (organization(database) for _ in range(3))
    for waiting in (first, second, third):
        deploy(database, waiting, 3)
    order = []
    for _ in range(9):
        build = claim(database)
        assert build is not None
        order.append(owner(build))
        end(database, build)
    assert all(set(order[place : place + 3]) == {first, second, third} for place in (0, 3, 6))


def test_the_builds_of_one_organization_go_in_their_order(database: Database) -> None:
    only = organization(database)
    deploy(database, only, 3)
    seen = []
    for _ in range(3):
        build = claim(database)
        assert build is not None
        with database.transaction() as session:
            seen.append(session.get_one(PackageVersion, build.version_id).created_at)
        end(database, build)
    assert seen == sorted(seen)


def give_back(database: Database, build: BuildPlan, *, is_counted: bool) -> None:
    with database.transaction() as session:
        assert builds.give_back(session, build.token, 0.0, is_counted=is_counted, log="The disk of this node was full.")


def test_a_build_that_met_a_fault_of_its_machine_is_tried_again_as_often_as_it_takes(database: Database) -> None:
    deploy(database, organization(database))
    for _ in range(SETTINGS.build_attempts + 3):
        build = claim(database)
        assert build is not None, "it never becomes the version's verdict"
        give_back(database, build, is_counted=False)
    last = claim(database)
    assert last is not None
    assert (last.attempt, last.log) == (1, "The disk of this node was full.")


def test_a_package_that_breaks_what_builds_it_is_given_up(database: Database) -> None:
    deploy(database, organization(database))
    for _ in range(SETTINGS.build_attempts):
        build = claim(database)
        assert build is not None
        give_back(database, build, is_counted=True)
    assert claim(database) is None
    with database.transaction() as session:
        assert session.scalar(text("SELECT error_code FROM package_versions")) == "build_lost"


def test_a_version_is_left_to_the_worker_that_has_its_interpreter(database: Database) -> None:
    deploy(database, organization(database))
    lacking, having = Place(0, 0, frozenset({"python3.12"})), Place(0, 0, frozenset({"python3.11"}))
    with database.transaction() as session:
        factories.see_node(session, "other", tools=["python3.11"])
    with database.transaction() as session:
        assert builds.claim_build(session, SETTINGS.queue_rules, lacking) is None
    with database.transaction() as session:
        session.execute(text("UPDATE package_versions SET build_lease_until = NULL"))
        assert builds.claim_build(session, SETTINGS.queue_rules, having) is not None


def test_a_version_that_no_worker_can_build_gets_its_verdict_at_once(database: Database) -> None:
    deploy(database, organization(database))
    with database.transaction() as session:
        session.execute(text("DELETE FROM nodes"))
        assert builds.claim_build(session, SETTINGS.queue_rules, Place(0, 0, frozenset({"python3.12"}))) is not None


def test_a_claimed_build_is_one_plain_record_that_no_change_of_rows_reaches(database: Database) -> None:
    with database.transaction() as session:
        tenant = factories.organization_of(session, limits={"build_network": True}, checks={"bandit": "off"})
        made = factories.package_of(session, tenant, status="building")
        rows = {row.name: row for row in session.query(Function).filter_by(package_version_id=made.version_id)}
        version = session.get_one(PackageVersion, made.version_id)
    plan = claim(database)
    assert plan is not None
    with database.transaction() as session:
        session.execute(text("UPDATE package_versions SET manifest = '{}', archive_key = 'other'"))
        session.execute(text("UPDATE organizations SET limits = '{}'"))
    assert plan.functions == tuple(PlannedFunction.read(rows[name]) for name in sorted(rows))
    organization_said = Organization(checks={"bandit": "off"}, limits={"build_network": True})
    version.build_attempts = 1
    assert plan == BuildPlan.read(plan.token, version, [rows[name] for name in sorted(rows)], organization_said)
    assert (plan.organization_id, plan.may_use_network, plan.is_image, plan.attempt) == (tenant, True, False, 1)
    assert pickle.loads(pickle.dumps(plan)) == plan, "no row and no session hangs on it"
    with pytest.raises(FrozenInstanceError):
        plan.runtime = "3.99"  # type: ignore[misc]
