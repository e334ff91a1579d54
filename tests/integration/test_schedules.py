"""Schedules over HTTP and real PostgreSQL; a relay is told what time it is."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Membership, Package, Task
from mecapy_platform.db.workflow_tables import Schedule, ScheduleFiring
from mecapy_platform.services.schedules.firing import DueSchedules
from mecapy_platform.services.schedules.targets import Means
from mecapy_platform.services.values import ValueStore
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database

TASK = {"package": "bolts", "function": "size", "inputs": {"diameter": "12 mm"}}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiPlatform]:
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("schedules")) as running:
        yield running


class Company:
    """One organization with an administrator, a package, and relays that are told what time it is."""

    def __init__(self, platform: ApiPlatform) -> None:
        self.platform, self.slug = platform, factories.unique()
        self.actor: Actor = platform.actor(f"ann-{self.slug}", self.slug)
        self.organization_id = self.actor.organization.organization_id
        self.client: httpx2.Client = platform.client(f"ann-{self.slug}", self.slug, organization=self.slug)
        self.package = factories.ready_package(platform.worker_database, self.organization_id, self.actor.user_id)

    def schedule(self, **changes: Any) -> dict[str, Any]:
        answer = self.client.post(
            "/schedules", json={"name": factories.unique(), "cron": "0 * * * *", "task": TASK, **changes}
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def relay(self, now: datetime, database: Database | None = None) -> int:
        values = ValueStore(self.platform.storage, self.platform.worker_database.transaction, 256 * 1024)
        means = Means(self.platform.settings.queue_rules, values)
        return DueSchedules(database or self.platform.worker_database, means).fire(now)

    def outcomes(self, schedule: Mapping[str, Any]) -> list[str]:
        """Oldest first."""
        found = self.client.get(f"/schedules/{schedule['id']}/firings").json()["firings"]
        return [firing["outcome"] for firing in reversed(found)]

    def tasks(self) -> list[Task]:
        with self.platform.worker_database.transaction() as session:
            query = select(Task).where(Task.organization_id == self.organization_id).order_by(Task.id)
            return list(session.scalars(query))


@pytest.fixture
def company(platform: ApiPlatform) -> Iterator[Company]:
    made = Company(platform)
    yield made
    with platform.worker_database.transaction() as session:  # so that the relay of another test finds none of it
        session.execute(delete(Schedule).where(Schedule.organization_id == made.organization_id))


def due(schedule: Mapping[str, Any], place: int = 0) -> datetime:
    return datetime.fromisoformat(schedule["next_times"][place])


def test_a_schedule_makes_a_task_at_its_time_and_not_before(company: Company) -> None:
    made = company.schedule(time_zone="Europe/Paris")
    assert made["explained"] == "At the start of every hour"
    assert company.relay(due(made) - timedelta(seconds=1)) == 0
    assert company.relay(due(made) + timedelta(seconds=1)) == 1
    assert company.relay(due(made) + timedelta(seconds=2)) == 0
    (task,) = company.tasks()
    assert (task.state, task.user_id) == ("queued", company.actor.user_id)
    (firing,) = company.client.get(f"/schedules/{made['id']}/firings").json()["firings"]
    assert (firing["outcome"], firing["made_id"], firing["error"]) == ("made", str(task.id), None)
    assert company.client.get(f"/schedules/{made['id']}").json()["next_times"][0] == made["next_times"][1]


def test_who_names_no_organization_makes_a_schedule_of_the_one_that_has_the_package(company: Company) -> None:
    """As a task would be of that one; the default of such a caller is another."""
    caller = company.platform.client(f"ann-{company.slug}", company.slug)
    other = company.platform.client(f"ann-{company.slug}", company.slug, factories.unique())
    for client in (caller, other):
        answer = client.post("/schedules", json={"name": factories.unique(), "cron": "0 * * * *", "task": TASK})
        assert answer.status_code == 201, answer.text
    company.relay(due(answer.json()))
    company.relay(due(answer.json()))
    assert len(company.tasks()) == 2
    assert {schedule["id"] for schedule in company.client.get("/schedules").json()["schedules"]} >= {
        answer.json()["id"]
    }


def test_eight_relays_at_once_fire_each_time_once(company: Company) -> None:
    made = [company.schedule() for _ in range(5)]
    databases = [Database(make_engine(company.platform.postgres.worker_url, pool_size=1)) for _ in range(8)]
    start, fired = threading.Barrier(8), list[int]()

    def relay(database: Database) -> None:
        start.wait()
        fired.append(company.relay(due(made[0]) + timedelta(seconds=1), database))

    threads = [threading.Thread(target=relay, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.dispose()
    while company.relay(due(made[0]) + timedelta(seconds=1)):  # those that a neighbour held just then
        pass
    assert len(company.tasks()) == 5
    assert [company.outcomes(schedule) for schedule in made] == [["made"]] * 5


def test_a_relay_that_dies_before_its_commit_leaves_the_time_to_another(company: Company) -> None:
    made = company.schedule()
    broken = DyingDatabase(make_engine(company.platform.postgres.worker_url, pool_size=1))
    with pytest.raises(MecapyError):
        company.relay(due(made) + timedelta(seconds=1), broken)
    assert company.tasks() == []
    assert company.outcomes(made) == []
    assert company.relay(due(made) + timedelta(seconds=1)) == 1
    assert len(company.tasks()) == 1
    broken.dispose()


class DyingDatabase(Database):
    """Its connection ends where a transaction would commit."""

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
            session.execute(select(func.pg_terminate_backend(func.pg_backend_pid())))


def test_times_at_which_nobody_was_there_are_left_out_or_made_up_for_in_order(company: Company) -> None:
    skips, catches = company.schedule(), company.schedule(missed="catch_up")
    late = due(skips, 3) + timedelta(minutes=30)
    while company.relay(late):
        pass
    assert company.outcomes(skips) == ["missed"]
    assert company.outcomes(catches) == ["made"] * 4
    assert company.client.get(f"/schedules/{skips['id']}").json()["next_times"][0] == skips["next_times"][4]
    assert len(company.tasks()) == 4


def test_a_study_is_run_anew_with_the_points_that_it_had(company: Company) -> None:
    design = {"kind": "list", "points": [{"diameter": "12 mm"}, {"diameter": "14 mm"}]}
    asked = {"name": "s", "package": "bolts", "function": "size", "design": design}
    study = company.client.post("/studies", json=asked).json()
    made = company.schedule(task=None, study=study["id"], overlap="skip")
    assert company.relay(due(made)) == 1
    assert company.relay(due(made, 1)) == 0
    assert company.outcomes(made) == ["made", "overlapped"]
    (again, first) = company.client.get("/studies").json()["studies"]
    assert first["id"] == study["id"]
    points = [company.client.get(f"/studies/{item['id']}/points").json()["points"] for item in (first, again)]
    assert [point["inputs"] for point in points[0]] == [point["inputs"] for point in points[1]]


def test_a_workflow_is_run_by_a_schedule_and_its_run_replaced(company: Company) -> None:
    size = str(company.package.functions["size"])
    nodes = [
        {"node_key": "d", "node_kind": "input", "input_spec": {"label": "d", "type_expr": "Length"}},
        {"node_key": "load", "node_kind": "constant", "value": 1.0, "type_expr": "Force"},
        {"node_key": "size", "node_kind": "function", "function_version_id": size},
    ]
    edges = [
        {"source_node_key": source, "source_port": "value", "target_node_key": "size", "target_port": port}
        for source, port in (("d", "diameter"), ("load", "load"))
    ]
    slug = factories.unique("w")
    body = {"slug": slug, "name": slug, "organization_slug": company.slug}
    assert company.client.post("/workflows", json=body).status_code == 201
    saved = company.client.post(f"/workflows/{slug}/versions", json={"nodes": nodes, "edges": edges})
    assert saved.status_code == 201, saved.text
    refused = {"name": "n", "cron": "0 * * * *", "run": {"workflow": slug}}
    assert company.client.post("/schedules", json=refused).status_code == 422
    made = company.schedule(task=None, run={"workflow": slug, "inputs": {"d": "12 mm"}}, overlap="replace")
    assert company.client.get("/runs").json()["runs"] == []
    company.relay(due(made))
    company.relay(due(made, 1))
    assert company.outcomes(made) == ["made", "made"]
    states = [run["state"] for run in company.client.get("/runs").json()["runs"]]
    assert states == ["running", "cancelled"]


@pytest.mark.parametrize("targets", [{}, {"task": TASK, "study": "0190a000-0000-7000-8000-000000000000"}])
def test_a_schedule_names_exactly_one_thing(company: Company, targets: dict[str, Any]) -> None:
    answer = company.client.post("/schedules", json={"name": "n", "cron": "0 * * * *", **targets})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_schedule_that_fails_for_a_reason_nobody_thought_of_is_told_and_delays_no_other(company: Company) -> None:
    broken, whole = company.schedule(), company.schedule()
    with company.platform.worker_database.transaction() as session:
        session.get_one(Schedule, UUID(broken["id"])).target = {"nonsense": True}
    assert company.relay(due(broken)) == 1
    assert (company.outcomes(broken), company.outcomes(whole)) == (["refused"], ["made"])
    assert company.relay(due(broken, 1)) == 1
    assert company.client.get(f"/schedules/{broken['id']}").json()["next_times"][0] == broken["next_times"][2]


def test_a_schedule_whose_zone_is_no_more_is_paused(company: Company) -> None:
    made = company.schedule()
    with company.platform.worker_database.transaction() as session:
        session.get_one(Schedule, UUID(made["id"])).time_zone = "Mars/Olympus"
    assert company.relay(due(made)) == 0
    with company.platform.worker_database.transaction() as session:
        assert session.get_one(Schedule, UUID(made["id"])).is_paused


def test_what_was_missed_a_week_ago_is_not_made_up_for(company: Company) -> None:
    made = company.schedule(cron="0 0 * * *", missed="catch_up")
    while company.relay(due(made) + timedelta(days=30, minutes=1)):
        pass
    assert company.outcomes(made)[0] == "missed"
    assert len(company.tasks()) <= 8


@pytest.mark.parametrize(("overlap", "expected"), [("allow", "made"), ("skip", "overlapped"), ("replace", "made")])
def test_what_happens_while_the_one_before_runs(company: Company, overlap: str, expected: str) -> None:
    made = company.schedule(overlap=overlap)
    company.relay(due(made))
    company.relay(due(made, 1))
    assert company.outcomes(made) == ["made", expected]
    first, *others = company.tasks()
    assert first.state == (TaskState.CANCELLED if overlap == "replace" else TaskState.QUEUED)
    assert len(others) == (0 if overlap == "skip" else 1)


def test_a_submission_that_is_refused_is_said_and_the_schedule_goes_on(company: Company) -> None:
    made = company.schedule()
    with company.platform.worker_database.transaction() as session:
        session.get_one(Package, company.package.package_id).archived_at = datetime.now(UTC)
    assert company.relay(due(made)) == 0
    (firing,) = company.client.get(f"/schedules/{made['id']}/firings").json()["firings"]
    assert (firing["outcome"], firing["error"]["code"]) == ("refused", "package_archived")
    with company.platform.worker_database.transaction() as session:
        session.get_one(Package, company.package.package_id).archived_at = None
    assert company.relay(due(made, 1)) == 1


def test_who_left_the_organization_starts_nothing_any_more(company: Company) -> None:
    made = company.schedule()
    with company.platform.worker_database.transaction() as session:
        session.execute(delete(Membership).where(Membership.user_id == company.actor.user_id))
    assert company.relay(due(made)) == 0
    with company.platform.worker_database.transaction() as session:
        row = session.get_one(Schedule, UUID(made["id"]))
        firing = session.scalars(select(ScheduleFiring).where(ScheduleFiring.schedule_id == row.id)).one()
        assert (row.is_paused, row.next_at is None or row.is_paused, firing.error_code) == (
            True,
            True,
            "schedule_owner_gone",
        )
    assert company.tasks() == []


def test_a_paused_schedule_fires_nothing_and_goes_on_from_now(company: Company) -> None:
    made = company.schedule()
    url = f"/schedules/{made['id']}"
    paused = company.client.patch(url, json={"is_paused": True}).json()
    assert (paused["is_paused"], paused["next_times"]) == (True, [])
    assert company.relay(due(made, 2)) == 0
    resumed = company.client.patch(url, json={"is_paused": False, "cron": "30 * * * *"}).json()
    assert due(resumed).minute == 30
    assert company.client.delete(url).status_code == 204
    assert company.client.get(url).status_code == 404


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cron": "61 * * * *"}, "cron_invalid"),
        ({"time_zone": "Mars/Olympus"}, "time_zone_unknown"),
        ({"task": {**TASK, "inputs": {"diameter": "12 kg"}}}, "inputs_invalid"),
        ({"task": {**TASK, "package": "absent"}}, "package_not_found"),
        ({"missed": "whatever"}, "invalid_request"),
        ({"task": {**TASK, "inputs": {"diameter": "12 mm", "x": "y" * 300_000}}}, "target_too_large"),
    ],
)
def test_a_schedule_that_could_not_fire_is_refused_at_once(
    company: Company, changes: dict[str, Any], code: str
) -> None:
    answer = company.client.post("/schedules", json={"name": "n", "cron": "0 * * * *", "task": TASK, **changes})
    assert answer.status_code in {404, 422}, answer.text
    assert answer.json()["code"] == code
    assert company.client.get("/schedules").json() == {"schedules": []}
    assert company.tasks() == []


def test_a_name_is_taken_once_and_a_viewer_makes_none(company: Company) -> None:
    made = company.schedule()
    body = {"name": made["name"], "cron": "0 * * * *", "task": TASK}
    again = company.client.post("/schedules", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "schedule_exists")
    viewer = company.platform.client(f"vic-{company.slug}", company.slug, roles=("viewer",), organization=company.slug)
    refused = viewer.post("/schedules", json={**body, "name": "other"})
    assert (refused.status_code, refused.json()["code"]) == (403, "viewer_may_not_submit")
    assert len(viewer.get("/schedules").json()["schedules"]) == 1
