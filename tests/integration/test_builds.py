"""Whose version is built next: by turns between organizations, none of which takes every builder."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from mecapy_platform.db.schema import migrate
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Organization, Package, PackageVersion
from mecapy_platform.services import builds
from mecapy_platform.services.builds import Build, Built
from mecapy_platform.settings import Settings
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
        made = Organization(slug=f"o-{uuid4().hex[:10]}", display_name="made", limits={})
        session.add(made)
        session.flush()
        return made.id


def deploy(database: Database, organization_id: UUID, count: int = 1) -> None:
    for _ in range(count):
        with database.transaction() as session:
            package = Package(organization_id=organization_id, owner_id=uuid4(), name=f"p-{uuid4().hex[:10]}")
            session.add(package)
            session.flush()
            version = PackageVersion(
                organization_id=organization_id,
                package_id=package.id,
                version="1.0.0",
                manifest={},
                archive_key="k",
                archive_sha256="s",
                created_by=uuid4(),
                runtime="3.11",
            )
            session.add(version)


def claim(database: Database) -> Build | None:
    with database.transaction() as session:
        return builds.claim_build(session, SETTINGS)


def end(database: Database, build: Build) -> None:
    with database.transaction() as session:
        assert builds.finish_build(session, build.token, Built(log=""))


def owner(build: Build | None) -> UUID:
    assert build is not None
    return build.version.organization_id


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
        seen.append(build.version.created_at)
        end(database, build)
    assert seen == sorted(seen)
