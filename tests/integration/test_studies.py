"""Studies over HTTP and real PostgreSQL. Tests take and end the tasks of points, and advance as the relay does."""

import csv
import io
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from arro3.io import read_parquet
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import ConflictError, MecapyError, UnavailableError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import TaskState, Usage
from mecapy_platform.core.workflows.states import CallState
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Membership, Package, Task
from mecapy_platform.db.workflow_tables import Call, Study
from mecapy_platform.services.finish import Outcome, finish
from mecapy_platform.services.studies import studies
from mecapy_platform.services.studies.advancing import advance_study
from mecapy_platform.services.studies.drawing import Drawer
from mecapy_platform.services.studies.due import DrivenStudies, DueStudies
from mecapy_platform.services.studies.records import Drawn
from mecapy_platform.services.tasks.call_ends import CallEnd
from mecapy_platform.services.tasks.values import values_of
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database
from support.worked import USUAL, Worked, end_taken, failed, take, work

BARS = [{"diameter": f"{10 + number} mm"} for number in range(12)]


def stress_of(point: int) -> Worked:
    return Worked(result={"stress": point * 1.0})


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiPlatform]:
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("studies")) as running:
        yield running


class Company:
    """One organization with an administrator and a package; it ends the tasks of its points itself."""

    def __init__(self, platform: ApiPlatform) -> None:
        self.platform, self.slug = platform, factories.unique()
        self.actor: Actor = platform.actor(f"ann-{self.slug}", self.slug)
        self.organization_id = self.actor.organization.organization_id
        self.client: httpx2.Client = platform.client(f"ann-{self.slug}", self.slug, organization=self.slug)
        self.package = factories.ready_package(platform.worker_database, self.organization_id, self.actor.user_id)

    def asked(self, points: list[Any], **options: Any) -> dict[str, Any]:
        design = {"kind": "list", "points": points}
        return {"name": "bars", "package": "bolts", "function": "size", "design": design, "options": options}

    def study(self, points: list[Any] = BARS, **options: Any) -> dict[str, Any]:
        answer = self.client.post("/studies", json=self.asked(points, **options))
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def look(self, study: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/studies/{study['id']}").json()
        return found

    def do(self, study: Mapping[str, Any], act: str, status: int = 200) -> dict[str, Any]:
        answer = self.client.post(f"/studies/{study['id']}/{act}")
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def queued(self, study: Mapping[str, Any]) -> list[tuple[UUID, int]]:
        with self.platform.worker_database.transaction() as session:
            query = select(Task.id, Task.point).where(Task.study_id == UUID(study["id"]), Task.state == "queued")
            return [(task_id, point or 0) for task_id, point in session.execute(query.order_by(Task.point))]

    def end(self, study: Mapping[str, Any], how: Callable[[int], Worked] = stress_of) -> int:
        """End every queued task of the study's points. Returns how many there were."""
        queued = self.queued(study)
        assert work(self.platform.worker_database, {task_id: how(point) for task_id, point in queued}) == len(queued)
        return len(queued)

    def advance(self) -> bool:
        told = list[Lane]()
        DueStudies(self.platform.worker_database, self.platform.settings.queue_rules, told.extend).advance_lost()
        return bool(told)

    def run_out(self, study: Mapping[str, Any], how: Callable[[int], Worked] = stress_of) -> dict[str, Any]:
        while self.end(study, how):
            self.advance()
        return self.look(study)


@pytest.fixture
def company(platform: ApiPlatform) -> Iterator[Company]:
    made = Company(platform)
    yield made
    with platform.worker_database.transaction() as session:  # what stays due would be another test's
        session.execute(text("DELETE FROM due_marks"))


def numbers(study: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(study[name] for name in ("points", "waiting", "running", "completed", "failed", "cancelled"))


def failing(*points: int) -> Callable[[int], Worked]:
    def how(point: int) -> Worked:
        return failed(f"Bar {point % 2} is too thin.") if point in points else stress_of(point)

    return how


def test_a_study_runs_in_windows_to_its_end(company: Company) -> None:
    study = company.study(parallel=4)
    assert (study["state"], numbers(study)) == ("running", (12, 8, 4, 0, 0, 0))
    assert [point for _, point in company.queued(study)] == [0, 1, 2, 3]
    assert company.end(study) == 4
    assert company.advance()
    assert numbers(company.look(study)) == (12, 4, 4, 4, 0, 0)
    ended = company.run_out(study)
    assert (ended["state"], numbers(ended), ended["error"]) == ("completed", (12, 0, 0, 12, 0, 0), None)
    assert ended["change"] > study["change"]


def test_who_names_no_organization_studies_for_the_one_that_has_the_package(company: Company) -> None:
    """As a task would be of that one; the default of such a caller may be another."""
    for others in ((), (factories.unique(),)):
        caller = company.platform.client(f"ann-{company.slug}", company.slug, *others)
        answer = caller.post("/studies", json=company.asked(BARS))
        assert (answer.status_code, answer.json()["state"]) == (201, "running"), answer.text
        assert company.run_out(answer.json())["state"] == "completed"


def test_points_hold_inputs_in_the_unit_of_the_function_and_their_results(company: Company) -> None:
    study = company.study()
    company.run_out(study)
    page = company.client.get(f"/studies/{study['id']}/points", params={"limit": 5}).json()
    assert [point["index"] for point in page["points"]] == [0, 1, 2, 3, 4]
    assert page["points"][2]["inputs"] == {"diameter": pytest.approx(0.012)}
    assert page["points"][2]["result"] == {"stress": 2.0}
    rest = company.client.get(
        f"/studies/{study['id']}/points", params={"limit": 100, "after": page["next_after"]}
    ).json()
    assert [point["index"] for point in rest["points"]] == list(range(5, 12))
    assert rest["next_after"] is None
    task = company.client.get(f"/tasks/{page['points'][2]['task_id']}").json()
    assert (task["state"], task["result"]) == ("completed", {"stress": 2.0})


def test_failed_points_are_grouped_by_what_they_said_and_run_again_by_resume(company: Company) -> None:
    study = company.study()
    ended = company.run_out(study, failing(2, 4, 5))
    assert (ended["state"], numbers(ended)) == ("completed", (12, 0, 0, 9, 3, 0))
    groups = company.client.get(f"/studies/{study['id']}/failures").json()["failures"]
    assert [(group["message"], group["points"], group["first"]) for group in groups] == [
        ("Bar 0 is too thin.", 2, 2),
        ("Bar 1 is too thin.", 1, 5),
    ]
    assert numbers(company.do(study, "resume")) == (12, 0, 3, 9, 0, 0)
    assert [point for _, point in company.queued(study)] == [2, 4, 5]
    ended = company.run_out(study)
    assert numbers(ended) == (12, 0, 0, 12, 0, 0)
    point = company.client.get(f"/studies/{study['id']}/points", params={"after": 1, "limit": 1}).json()["points"][0]
    assert (point["state"], point["error"]) == ("completed", None)
    assert company.do(study, "resume", 409)["code"] == "nothing_to_resume"


def test_too_many_failures_and_a_spent_budget_stop_it_and_can_be_raised(company: Company) -> None:
    study = company.study(parallel=4, max_failures=1)
    stopped = company.run_out(study, failing(0, 1, 2))
    assert (stopped["state"], stopped["error"]["code"]) == ("failed", "too_many_failures")
    assert numbers(stopped) == (12, 8, 0, 1, 3, 0)
    assert company.client.patch(f"/studies/{study['id']}", json={"max_failures": 100}).status_code == 200
    company.do(study, "resume")
    assert numbers(company.run_out(study)) == (12, 0, 0, 12, 0, 0)
    dear = company.study(parallel=2, max_cpu_hours=0.001)
    stopped = company.run_out(dear, lambda _: Worked(usage=Usage(10.0, 10.0, 32.0)))
    assert (stopped["state"], stopped["error"]["code"], stopped["completed"]) == ("failed", "budget_spent", 2)


def test_a_paused_study_starts_nothing_and_goes_on_when_it_is_resumed(company: Company) -> None:
    study = company.study(parallel=4)
    assert company.do(study, "pause")["state"] == "paused"
    company.end(study)
    company.advance()
    assert (company.look(study)["state"], company.queued(study)) == ("paused", [])
    company.do(study, "resume")
    assert company.run_out(study)["state"] == "completed"
    assert company.do(study, "pause", 409)["code"] == "study_ended"


def test_a_cancelled_study_ends_with_its_last_task(company: Company) -> None:
    study = company.study(parallel=4)
    first = company.queued(study)[0][0]
    tokens = take(company.platform.worker_database, [first])
    cancelled = company.do(study, "cancel")
    assert company.queued(study) == []
    company.advance()
    assert (company.look(study)["state"], numbers(company.look(study))) == ("running", (12, 0, 1, 0, 0, 11))
    with company.platform.worker_database.transaction() as session:
        running = session.scalars(select(Task).where(Task.study_id == UUID(study["id"]), Task.state == "running")).one()
        assert running.cancel_requested_at is not None
    assert running.id == first
    how = {first: Worked(TaskState.CANCELLED, None, "cancelled", "Cancelled while it was running.")}
    assert end_taken(company.platform.worker_database, tokens, how) == 1
    company.advance()
    ended = company.look(study)
    assert (ended["state"], numbers(ended)) == ("cancelled", (12, 0, 0, 0, 0, 12))
    assert company.do(study, "cancel")["state"] == "cancelled"
    assert cancelled["id"] == study["id"]


def test_points_can_be_added_to_one_that_has_ended(company: Company) -> None:
    study = company.study(BARS[:2])
    company.run_out(study)
    body = {"addition": {"points": BARS[2:5]}}
    added = company.client.post(f"/studies/{study['id']}/points", json=body)
    assert (added.status_code, numbers(added.json())) == (200, (5, 0, 3, 2, 0, 0))
    assert numbers(company.run_out(study)) == (5, 0, 0, 5, 0, 0)


def test_eight_advancers_at_once_start_each_point_once(company: Company) -> None:
    points = [{"diameter": "12 mm"}] * 200
    study = company.study(points, parallel=20)
    databases = [Database(make_engine(company.platform.postgres.worker_url, pool_size=1)) for _ in range(8)]

    def advance(database: Database) -> None:
        advance_study(database, UUID(study["id"]), company.platform.settings.queue_rules)

    while company.end(study):
        threads = [threading.Thread(target=advance, args=(database,)) for database in databases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for database in databases:
        database.dispose()
    assert numbers(company.look(study)) == (200, 0, 0, 200, 0, 0)
    with company.platform.worker_database.transaction() as session:
        started = select(func.count(), func.count(func.distinct(Task.point))).where(Task.study_id == UUID(study["id"]))
        assert session.execute(started).one() == (200, 200)
        assert session.scalar(select(func.count()).select_from(Call).where(Call.study_id == UUID(study["id"]))) == 200


class DyingDatabase(Database):
    """Its connection ends where a transaction would commit."""

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
            session.execute(select(func.pg_terminate_backend(func.pg_backend_pid())))


def test_who_dies_while_advancing_leaves_all_to_the_next(company: Company) -> None:
    study = company.study(parallel=4)
    company.end(study)
    broken = DyingDatabase(make_engine(company.platform.postgres.worker_url, pool_size=1))
    with pytest.raises(MecapyError):
        advance_study(broken, UUID(study["id"]), company.platform.settings.queue_rules)
    broken.dispose()
    assert numbers(company.look(study)) == (12, 8, 4, 0, 0, 0)
    assert company.advance()
    assert numbers(company.look(study)) == (12, 4, 4, 4, 0, 0)
    assert not company.advance()


def test_what_the_owner_may_no_longer_run_stops_it_with_the_reason(company: Company) -> None:
    study = company.study(parallel=4)
    with company.platform.worker_database.transaction() as session:
        session.get_one(Package, company.package.package_id).archived_at = func.now()
    stopped = company.run_out(study)
    assert (stopped["state"], stopped["error"]["code"]) == ("failed", "package_archived")
    assert numbers(stopped) == (12, 8, 0, 4, 0, 0)
    with company.platform.worker_database.transaction() as session:
        session.get_one(Package, company.package.package_id).archived_at = None
    assert numbers(company.do(study, "resume")) == (12, 4, 4, 4, 0, 0)
    with company.platform.worker_database.transaction() as session:
        session.execute(delete(Membership).where(Membership.user_id == company.actor.user_id))
    while company.end(study):
        company.advance()
    with company.platform.worker_database.transaction() as session:
        row = session.get_one(Study, UUID(study["id"]))
        assert (row.state, row.error_code, row.waiting) == ("failed", "study_owner_gone", 4)


def test_the_same_key_makes_one_study(company: Company) -> None:
    body, headers = company.asked(BARS), {"Idempotency-Key": factories.unique()}
    first, again = (company.client.post("/studies", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = company.client.post("/studies", json=company.asked(BARS[:3]), headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("points", "code", "path"),
    [
        ([], "design_invalid", "points"),
        ([{"diameter": "12 mm"}, {"diameter": "12 kg"}], "inputs_invalid", "points[1].diameter"),
        ([{"diameter": "12 mm", "wide": 1}], "inputs_invalid", "points[0].wide"),
        ([{"load": "1 N"}], "inputs_invalid", "points[0].diameter"),
        (["12 mm"], "design_invalid", "points[0]"),
        ([{"diameter": 0.01}] * 50_001, "design_invalid", "points"),
    ],
)
def test_a_design_that_does_not_hold_is_refused_with_its_place_and_leaves_nothing(
    company: Company, points: list[Any], code: str, path: str
) -> None:
    answer = company.client.post("/studies", json=company.asked(points))
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert company.client.get("/studies").json()["studies"] == []


def test_derived_quantities_and_criteria_are_computed_of_each_point(company: Company) -> None:
    derived, criteria = {"area": "pi * diameter ** 2 / 4"}, {"strong": "stress >= 6[Pa]"}
    study = company.study(derived=derived, criteria=criteria)
    company.run_out(study, failing(11))
    points = company.client.get(f"/studies/{study['id']}/points").json()["points"]
    assert points[2]["derived"] == {"area": pytest.approx(math.pi * 0.012**2 / 4)}
    assert [point["success"] for point in points] == [False] * 6 + [True] * 5 + [None]
    rows = list(csv.DictReader(io.StringIO(company.client.get(f"/studies/{study['id']}/export").text)))
    assert (float(rows[2]["area"]), rows[6]["success"]) == (points[2]["derived"]["area"], "true")


@pytest.mark.parametrize(
    ("options", "path", "code"),
    [
        ({"derived": {"x": "diameter + 1[kg]"}}, "options.derived.x", "unit_mismatch"),
        ({"derived": {"x": "diametre"}}, "options.derived.x", "expression_unknown_name"),
        ({"derived": {"diameter": "1"}}, "options.derived.diameter", "name_taken"),
        ({"criteria": {"x": "stress"}}, "options.criteria.x", "unit_mismatch"),
        ({"criteria": {"x": "__import__('os')"}}, "options.criteria.x", "expression_unknown_function"),
    ],
)
def test_an_expression_that_does_not_hold_is_refused_before_anything_runs(
    company: Company, options: dict[str, Any], path: str, code: str
) -> None:
    answer = company.client.post("/studies", json=company.asked(BARS, **options))
    assert (answer.status_code, answer.json()["code"]) == (422, "expression_invalid")
    assert [(error["path"], error["code"]) for error in answer.json()["errors"]] == [(path, code)]


def test_a_random_design_is_recorded_with_its_seed_and_grows_by_the_same_points(company: Company) -> None:
    factor = {"distribution": "normal", "mean": "12 mm", "std": "0.1 mm"}
    design = {"kind": "monte_carlo", "factors": {"diameter": factor}, "points": 40}
    study = company.client.post("/studies", json={**company.asked([]), "design": design}).json()
    assert isinstance(study["design"]["seed"], int)
    company.run_out(study)
    url = f"/studies/{study['id']}"
    before = company.client.get(f"{url}/points").json()["points"]
    grown = company.client.post(f"{url}/points", json={"addition": {"points": 20}})
    assert (grown.status_code, grown.json()["points"]) == (200, 60)
    again = company.client.post(
        "/studies", json={**company.asked([]), "design": {**design, "points": 60, "seed": study["design"]["seed"]}}
    ).json()
    drawn = [
        [point["inputs"] for point in company.client.get(f"/studies/{made['id']}/points").json()["points"]]
        for made in (study, again)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0][:40] == [point["inputs"] for point in before]


def test_statistics_are_calculated_of_what_has_ended_or_refused(company: Company) -> None:
    study = company.study(derived={"area": "pi * diameter ** 2 / 4"}, criteria={"strong": "stress >= 6[Pa]"})
    company.run_out(study, failing(11))
    url = f"/studies/{study['id']}/statistics"
    refused = company.client.post(url, json={})
    assert (refused.status_code, refused.json()["code"]) == (422, "sample_incomplete")
    asked = {"wanted": ["moments", "quantiles", "success", "correlation"], "incomplete": "leave_out"}
    found = company.client.post(url, json=asked).json()
    assert (found["points"], found["used"]) == (12, 11)
    assert found["statistics"]["moments"]["stress"]["mean"] == pytest.approx(5.0)
    assert set(found["statistics"]["moments"]) == {"stress", "area"}
    assert found["statistics"]["success"]["strong"]["share"] == pytest.approx(5 / 11)


def test_plots_and_tables_are_made_of_what_has_ended(company: Company) -> None:
    study = company.study(derived={"area": "pi * diameter ** 2 / 4"}, criteria={"strong": "stress >= 6[Pa]"})
    company.run_out(study, failing(11))
    url = f"/studies/{study['id']}"
    asked: dict[str, Any] = {"plot": "scatter", "x": "diameter", "y": "stress"}
    assert company.client.get(f"{url}/plot", params=asked).json()["code"] == "sample_incomplete"
    drawn = company.client.get(f"{url}/plot", params={**asked, "leave_out": True})
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/svg+xml")
    assert drawn.content.startswith(b"<?xml")
    assert "sandbox" in drawn.headers["content-security-policy"]
    kinds: list[dict[str, Any]] = [
        {"plot": "histogram", "x": "area", "bins": 5},
        {"plot": "tornado", "y": "stress"},
        {"plot": "pareto", "x": "area", "y": "stress", "maximise": ["stress"]},
    ]
    for kind in kinds:
        picture = company.client.get(f"{url}/plot", params={**kind, "format": "png", "leave_out": True})
        assert picture.content.startswith(b"\x89PNG"), picture.text
    assert company.client.get(f"{url}/plot", params={"plot": "convergence"}).json()["code"] == "plot_invalid"
    table = read_parquet(io.BytesIO(company.client.get(f"{url}/parquet").content)).read_all()
    assert table.shape[0] == 12
    assert {"index", "state", "diameter", "stress", "area", "strong"} <= set(table.column_names)


class Driver:
    """Drives as the relay does, over processes of a test's own."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.drawer = Drawer(Bounds(60.0, 1 << 30))

    def run_out(self, study: Mapping[str, Any], how: Callable[[float], Worked]) -> dict[str, Any]:
        """To its end, each point worked out of its inputs; who drives dies once on the way."""
        database, rules = self.company.platform.worker_database, self.company.platform.settings.queue_rules
        dies = True
        while not self.company.look(study)["completed_at"]:
            queued = [task_id for task_id, _ in self.company.queued(study)]
            with database.transaction() as session:
                inputs = {task_id: values_of(session, task_id, row_bytes=1 << 20).inputs.text for task_id in queued}
            ends = {task_id: how(json.loads(text or "{}")["diameter"]) for task_id, text in inputs.items()}
            assert work(database, ends) == len(queued)
            self.company.advance()
            if dies:
                broken = DyingDatabase(make_engine(self.company.platform.postgres.worker_url, pool_size=1))
                with pytest.raises(MecapyError):
                    DrivenStudies(broken, self.drawer, rules, print).drive()
                broken.dispose()
                dies = False
            DrivenStudies(database, self.drawer, rules, print).drive()
        return self.company.look(study)


@pytest.fixture
def driver(company: Company) -> Iterator[Driver]:
    made = Driver(company)
    yield made
    made.drawer.close()


def test_a_root_is_found_by_points_that_follow_from_results(company: Company, driver: Driver) -> None:
    """Stress of a bar under 10 kN: F / (pi d^2 / 4) = 100 MPa at d = 11.28 mm."""
    factors = {"diameter": "5 mm .. 50 mm"}
    design = {"kind": "root_finding", "factors": factors, "expression": "stress", "target": 100e6}
    study = company.client.post("/studies", json={**company.asked([]), "design": design}).json()
    assert study["state"] == "running", study
    ended = driver.run_out(study, lambda width: Worked(result={"stress": 10e3 / (math.pi * width**2 / 4)}))
    assert (ended["state"], ended["error"]) == ("completed", None)
    assert ended["points"] == ended["completed"] < 40
    assert "11.28" in json.dumps(ended["outcome"]) or "0.01128" in json.dumps(ended["outcome"])


def test_a_search_that_cannot_go_on_says_why(company: Company, driver: Driver) -> None:
    design = {"kind": "root_finding", "factors": {"diameter": "5 mm .. 50 mm"}, "expression": "stress", "target": -1.0}
    study = company.client.post("/studies", json={**company.asked([]), "design": design}).json()
    ended = driver.run_out(study, lambda width: Worked(result={"stress": width}))
    assert (ended["state"], ended["outcome"]) == ("failed", None)
    assert ended["error"]["code"]


class Away(Drawer):
    """Its processes cannot be started."""

    def ask(self, *_: Any) -> Any:
        raise UnavailableError("study_math_unavailable", "No process could be started.")


def test_a_search_waits_while_nobody_can_calculate(company: Company, driver: Driver) -> None:
    design = {"kind": "root_finding", "factors": {"diameter": "5 mm .. 50 mm"}, "expression": "stress", "target": 0.01}
    study = company.client.post("/studies", json={**company.asked([]), "design": design}).json()
    company.end(study, lambda point: Worked(result={"stress": (0.005, 0.05)[point]}))
    company.advance()
    away, rules = Away(Bounds(1.0, 1 << 30)), company.platform.settings.queue_rules
    DrivenStudies(company.platform.worker_database, away, rules, print).drive()
    assert company.look(study)["state"] == "running"
    assert driver.run_out(study, lambda width: Worked(result={"stress": width}))["state"] == "completed"


def test_a_search_that_was_stopped_is_no_success_and_can_be_taken_up(company: Company, driver: Driver) -> None:
    design = {"kind": "root_finding", "factors": {"diameter": "5 mm .. 50 mm"}, "expression": "stress", "target": 0.01}
    asked = {**company.asked([], max_failures=0), "design": design}
    study = company.client.post("/studies", json=asked).json()
    company.end(study, lambda _: failed("No."))
    company.advance()
    stopped = company.look(study)
    assert (stopped["state"], stopped["error"]["code"]) == ("failed", "too_many_failures")
    company.do(study, "resume")
    ended = driver.run_out(study, lambda width: Worked(result={"stress": width}))
    assert (ended["state"], ended["error"]) == ("completed", None)


def test_points_drawn_for_a_study_that_got_others_meanwhile_are_refused(company: Company) -> None:
    study = company.study(BARS[:2])
    drawn = Drawn([{"diameter": 0.01}], study["design"])
    with (
        company.platform.worker_database.transaction() as session,
        pytest.raises(ConflictError) as error,
    ):
        studies.add_points(
            session, company.actor, UUID(study["id"]), drawn, company.platform.settings.queue_rules, there=1
        )
    assert error.value.code == "points_changed"
    assert numbers(company.look(study))[0] == 2


def test_pages_of_large_points_are_cut_by_their_size_and_none_is_left_out(company: Company) -> None:
    study = company.study([{"diameter": 0.01}] * 120, parallel=120)
    company.run_out(study, lambda _: Worked(result={"stress": 1.0, "note": "x" * 200_000}))
    url, after, seen = f"/studies/{study['id']}/points", -1, list[int]()
    pages = 0
    while after is not None:
        page = company.client.get(url, params={"after": after, "limit": 1000}).json()
        seen += [point["index"] for point in page["points"]]
        after, pages = page["next_after"], pages + 1
    assert seen == list(range(120))
    assert pages > 1
    assert len(company.client.get(f"/studies/{study['id']}/export", params={"format": "json"}).text.splitlines()) == 120


def test_who_was_made_a_viewer_starts_no_further_points(company: Company) -> None:
    study = company.study(parallel=4)
    with company.platform.worker_database.transaction() as session:
        row = session.get_one(Membership, (company.organization_id, company.actor.user_id))
        row.role = "viewer"
    while company.end(study):
        company.advance()
    with company.platform.worker_database.transaction() as session:
        found = session.get_one(Study, UUID(study["id"]))
        assert (found.state, found.error_code, found.waiting) == ("failed", "viewer_may_not_submit", 8)


def test_a_study_that_fails_for_a_reason_nobody_thought_of_delays_no_other(company: Company) -> None:
    broken, whole = company.study(parallel=4), company.study(parallel=4)
    with company.platform.worker_database.transaction() as session:
        session.get_one(Study, UUID(broken["id"])).options = {"unknown": 1}
    company.end(broken)
    company.end(whole)
    company.advance()
    assert numbers(company.look(whole)) == (12, 4, 4, 4, 0, 0)


def test_an_estimate_keeps_nothing(company: Company) -> None:
    found = company.client.post("/studies/estimate", json=company.asked(BARS)).json()
    assert (found["points"], found["is_learned"]) == (12, False)
    assert found["cpu_hours"] == pytest.approx(12 * found["seconds_each"] / 3600)
    assert company.client.get("/studies").json()["studies"] == []


def test_an_export_is_a_table_in_which_nothing_is_a_formula(company: Company) -> None:
    study = company.study()
    company.run_out(study, lambda point: Worked(result={"stress": point * 2.0, "note": "=1+1"}))
    answer = company.client.get(f"/studies/{study['id']}/export")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["index"] for row in rows] == [str(number) for number in range(12)]
    assert float(rows[3]["diameter"]) == pytest.approx(0.013)
    assert (float(rows[3]["stress"]), rows[3]["note"]) == (6.0, "'=1+1")
    lines = company.client.get(f"/studies/{study['id']}/export", params={"format": "json"}).text.splitlines()
    assert len(lines) == 12


class PackCompany(Company):
    """With a worker that takes several points at once; each of its packs ends as `how` says, None: not reached."""

    def __init__(self, platform: ApiPlatform) -> None:
        super().__init__(platform)
        with platform.worker_database.transaction() as session:
            factories.see_node(session, tools=["calls"])
        self.sizes: list[int] = []

    def end_packs(self, study: Mapping[str, Any], how: Callable[[int], CallEnd | None]) -> int:
        database = self.platform.worker_database
        queued = self.queued(study)
        for task_id, token in take(database, [task_id for task_id, _ in queued]).items():
            with database.transaction() as session:
                calls = session.scalars(select(Call).where(Call.task_id == task_id).order_by(Call.position)).all()
                self.sizes.append(session.get_one(Task, task_id).calls_count)
            ends = [replace(end, call_id=call.id) for call in calls if (end := how(call.index)) is not None]
            rules = self.platform.settings.queue_rules
            with database.transaction() as session:
                carries = session.get_one(Task, task_id).calls_count > 0
                result = None if carries else {"stress": 1.0}
                finish(session, token, Outcome(None, USUAL, result=result, calls=ends if carries else ()), rules)
        return len(queued)


def ended_with(stress: float) -> CallEnd:
    return CallEnd(uuid4(), CallState.COMPLETED, Usage(0.001, 0.0005, 10.0), {"stress": stress})


@pytest.fixture
def packers(tmp_path: Path) -> Iterator[PackCompany]:
    with fresh_database() as server, api_platform(server, tmp_path) as running:
        yield PackCompany(running)


def test_points_run_in_packs_that_grow_with_what_is_learned(packers: PackCompany) -> None:
    study = packers.study([{"diameter": 0.01}] * 3000)
    while packers.end_packs(study, lambda index: ended_with(index * 1.0)):
        packers.advance()
    ended = packers.look(study)
    assert (ended["state"], numbers(ended)) == ("completed", (3000, 0, 0, 3000, 0, 0))
    assert packers.sizes[:16] == [8] * 16
    assert 490 < max(packers.sizes) <= 500
    assert ended["cpu_seconds"] == pytest.approx(1.5)
    page = packers.client.get(f"/studies/{study['id']}/points", params={"after": 2990}).json()["points"]
    assert [point["result"] for point in page] == [{"stress": index * 1.0} for index in range(2991, 3000)]


def test_a_point_that_comes_back_twice_goes_alone(packers: PackCompany) -> None:
    study = packers.study([{"diameter": 0.01}] * 40)
    while packers.end_packs(study, lambda index: None if index == 13 else ended_with(1.0)):
        packers.advance()
    assert numbers(packers.look(study)) == (40, 0, 0, 40, 0, 0)
    assert packers.sizes == [8] * 5 + [1, 0], "in its pack, in one of its own, then as a plain task"


def test_a_cancelled_study_takes_its_packs_along(packers: PackCompany) -> None:
    study = packers.study([{"diameter": 0.01}] * 400)
    packers.do(study, "cancel")
    packers.advance()
    packers.advance()
    ended = packers.look(study)
    assert (ended["state"], numbers(ended)) == ("cancelled", (400, 0, 0, 0, 0, 400))


def test_fifty_thousand_points_are_accepted_and_read_in_pages(company: Company) -> None:
    study = company.study([{"diameter": 0.01}] * 50_000)
    assert numbers(study) == (50_000, 49_900, 100, 0, 0, 0)
    page = company.client.get(f"/studies/{study['id']}/points", params={"after": 49_989}).json()
    assert [point["index"] for point in page["points"]] == list(range(49_990, 50_000))
    company.do(study, "cancel")
    company.advance()
    assert numbers(company.look(study)) == (50_000, 0, 0, 0, 0, 50_000)
