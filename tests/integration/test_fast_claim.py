"""The claim in one statement takes what core/quotas.pick would take, or leaves the choice to it."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.fast_path import WORKER_STATEMENTS
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Function, LaneShare, PackageVersion
from mecapy_platform.db.wire import Wire, plain_url
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services import claims
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.services.fast_claim import FastClaim
from mecapy_platform.settings import Settings
from support import factories

SETTINGS = Settings(organization_max_running=6)
WORKER = Worker("node-1", "node-1-1", "fake")
NOBODY = UUID(int=0)


SHORT = text(
    "SELECT * FROM mecapy_fast_claim("
    "'default', 1, ARRAY[cast(:token AS uuid)], :node, :worker, 'fake', 30, 0, false, 100, 0)"
)
LOOKED_AT = text("SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'tasks'")


class UndoneError(Exception):
    """Ends a transaction whose changes are not to stay."""


Short = Callable[..., Sequence[Claim] | None]


@pytest.fixture(scope="module")
def short(server: Postgres, database: Database) -> Iterator[Short]:
    wire = Wire(server.worker_url, WORKER_STATEMENTS)

    def claim(lane: Lane, slots: int, packs: int = 0) -> Sequence[Claim] | None:
        with FastClaim(wire, database, WORKER, SETTINGS.queue_rules, lane).claim(slots, packs) as claimed:
            return claimed

    yield claim
    wire.close()


def fill(database: Database, rng: random.Random, lane: Lane) -> None:
    """Some organizations, with passes, weights and tasks of several sizes, on a node of some size."""
    with database.transaction() as session:
        for table in ("events", "tasks", "lane_shares", "nodes"):
            session.execute(text(f"DELETE FROM {table}"))
        cpu, memory_mb = rng.choice([4, 8, 100]), rng.choice([2048, 8192, 100_000])
        factories.see_node(session, "node-1", cpu=cpu, memory_mb=memory_mb, disk_free_bytes=1)
        session.add(LaneShare(lane=lane, organization_id=NOBODY, stride_pass=rng.choice([0.0, 3.0])))
        for number in range(rng.randint(1, 4)):
            made = factories.organization_of(session, weight=rng.choice([0.5, 1.0, 2.0]))
            session.add(LaneShare(lane=lane, organization_id=made, stride_pass=float(rng.randint(0, 5))))
            package = factories.package_of(session, made, functions={"size": factories.SIZE})
            for place in range(rng.randint(0, 8)):
                carries = (
                    {"calls_count": 7, "share_cost": 2.5} if lane is Lane.DEFAULT and not rng.randint(0, 3) else {}
                )
                session.add(
                    factories.queued_task(
                        made, package.version_id, package.functions["size"], number * 100 + place, lane=lane,
                        rank=rng.randint(0, 9), cpu=rng.choice([1, 1, 2]), memory_mb=rng.choice([256, 256, 1024]),
                        **carries,
                    )
                )  # fmt: skip
                session.flush()


def passes(database: Database) -> dict[UUID, float]:
    with database.transaction() as session:
        return {item.organization_id: item.stride_pass for item in session.query(LaneShare)}


def chosen(database: Database, lane: Lane, slots: int, packs: int = 0) -> tuple[list[UUID], dict[UUID, float]]:
    """What the full path takes, and the passes after it; undone."""
    taken: list[UUID] = []
    after: dict[UUID, float] = {}
    with suppress(UndoneError), database.transaction() as session:
        found = claims.claim(session, WORKER, lane, slots, SETTINGS.queue_rules, packs=packs)
        taken += [item.task_id for item in found]
        session.flush()
        after |= {item.organization_id: item.stride_pass for item in session.query(LaneShare)}
        raise UndoneError
    return taken, after


@pytest.mark.parametrize("seed", range(60))
def test_the_short_way_takes_what_the_long_way_takes_in_its_order(database: Database, short: Short, seed: int) -> None:
    rng = random.Random(seed)
    lane = rng.choice([Lane.HIGH_PRIORITY, Lane.DEFAULT])
    fill(database, rng, lane)
    slots, packs = rng.randint(1, 10), rng.randint(0, 3)
    expected, passes_after = chosen(database, lane, slots, packs)
    claimed = short(lane, slots, packs)
    if claimed is None:
        with database.transaction() as session:
            claims.claim(session, WORKER, lane, slots, SETTINGS.queue_rules)
        return
    assert [item.task_id for item in claimed] == expected
    assert passes(database) == passes_after


@pytest.mark.parametrize("is_short", [True, False])
def test_a_claim_that_may_take_no_pack_does_not_walk_over_those_that_wait(
    server: Postgres, database: Database, is_short: bool
) -> None:
    fill(database, random.Random(3), Lane.DEFAULT)
    with database.transaction() as session:
        session.execute(text("DELETE FROM tasks"))
        session.execute(text("UPDATE nodes SET cpu = 100, memory_mb = 100000"))
        organization_id = factories.organization_of(session)
        package = factories.package_of(session, organization_id)
        session.add_all(
            factories.queued_task(
                organization_id, package.version_id, package.functions["size"], number, rank=number // 2000,
                calls_count=0 if number == 2000 else 7,
            )
            for number in range(2001)
        )  # fmt: skip
    with psycopg.connect(plain_url(server.owner_url), autocommit=True) as owner:
        owner.execute("ANALYZE tasks")
    with database.transaction() as session:
        before = session.scalar(LOOKED_AT) or 0
        if is_short:
            session.execute(SHORT, {"token": uuid4(), "node": WORKER.node, "worker": WORKER.process})
        else:
            assert len(claims.claim(session, WORKER, Lane.DEFAULT, 1, SETTINGS.queue_rules)) == 1
        looked_at = (session.scalar(LOOKED_AT) or 0) - before
        taken = session.scalar(text("SELECT calls_count FROM tasks WHERE state = 'running' AND rank = 1"))
    assert taken == 0
    assert looked_at < 1000, "2,000 packs wait before it"


def test_most_claims_go_the_short_way(database: Database, short: Short) -> None:
    """Else the test above would show nothing."""
    went = 0
    for seed in range(60):
        rng = random.Random(seed)
        lane = rng.choice([Lane.HIGH_PRIORITY, Lane.DEFAULT])
        fill(database, rng, lane)
        went += short(lane, rng.randint(1, 10), rng.randint(0, 3)) is not None
    assert went > 30


def test_a_claim_of_the_short_way_has_all_that_the_long_way_s_has(database: Database, short: Short) -> None:
    fill(database, random.Random(3), Lane.DEFAULT)
    with database.transaction() as session:
        session.execute(text("UPDATE nodes SET cpu = 100, memory_mb = 100000"))
    with suppress(UndoneError), database.transaction() as session:
        long = {item.task_id: item for item in claims.claim(session, WORKER, Lane.DEFAULT, 5, SETTINGS.queue_rules)}
        raise UndoneError
    claimed = short(Lane.DEFAULT, 5)
    assert claimed
    for item in claimed:
        fields = vars(long[item.task_id])
        assert {**vars(item), "token": fields["token"]} == fields


def test_a_claim_can_be_begun_before_others_see_it_and_is_there_when_the_block_is_left(
    server: Postgres, database: Database
) -> None:
    fill(database, random.Random(3), Lane.DEFAULT)
    with database.transaction() as session:
        session.execute(text("UPDATE nodes SET cpu = 100, memory_mb = 100000"))
    wire = Wire(server.worker_url, WORKER_STATEMENTS)
    count = text("SELECT count(*) FROM attempts WHERE token = :token")
    with psycopg.connect(server.owner_url.replace("+psycopg", ""), autocommit=True) as blocker:
        # a commit that takes its time: a deferred trigger waits for this lock
        blocker.execute(
            "CREATE OR REPLACE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NULL; END $$"
        )
        blocker.execute(
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON attempts DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION slow_commit()"
        )
        blocker.execute("SELECT pg_advisory_lock(77)")
        try:
            with FastClaim(wire, database, WORKER, SETTINGS.queue_rules, Lane.DEFAULT).claim(1) as claimed:
                assert claimed, "the rows come before the commit"
                with database.transaction() as session:
                    assert session.scalar(count, {"token": claimed[0].token}) == 0
                blocker.execute("SELECT pg_advisory_unlock(77)")
            with database.transaction() as session:
                assert session.scalar(count, {"token": claimed[0].token}) == 1
        finally:
            blocker.execute("SELECT pg_advisory_unlock_all()")
            blocker.execute("DROP TRIGGER slow ON attempts")
    wire.close()


def test_no_number_of_organizations_at_their_quota_hides_another(database: Database, short: Short) -> None:
    fill(database, random.Random(1), Lane.DEFAULT)
    with database.transaction() as session:
        session.execute(text("DELETE FROM tasks"))
        session.execute(text("UPDATE nodes SET cpu = 100, memory_mb = 100000"))
        version = session.query(PackageVersion).first()
        assert version is not None
        function = session.query(Function).filter_by(package_version_id=version.id).one()
        for number in range(70):
            is_last = number == 69
            limits = {} if is_last else {"max_running": 0}
            made = factories.organization_of(session, limits=limits)
            session.add(LaneShare(lane=Lane.DEFAULT, organization_id=made, stride_pass=1000.0 if is_last else 10.0))
            session.add(factories.queued_task(made, version.id, function.id, number, memory_mb=256))
    assert short(Lane.DEFAULT, 4) is None
    assert chosen(database, Lane.DEFAULT, 4)[0] == [made_id(database)]


def made_id(database: Database) -> UUID:
    """The task of the organization that is not at its quota."""
    with database.transaction() as session:
        found: UUID = session.execute(
            text(
                "SELECT t.id FROM tasks t JOIN organizations o ON o.id = t.organization_id WHERE o.limits::text = '{}'"
            )
        ).scalar_one()
        return found


def test_a_task_whose_version_is_not_ready_is_taken_by_no_claim(database: Database, short: Short) -> None:
    fill(database, random.Random(2), Lane.DEFAULT)
    with database.transaction() as session:
        session.execute(text("UPDATE nodes SET cpu = 100, memory_mb = 100000"))
        session.execute(text("UPDATE package_versions SET status = 'error'"))
    assert not short(Lane.DEFAULT, 3)
    assert chosen(database, Lane.DEFAULT, 3)[0] == []
