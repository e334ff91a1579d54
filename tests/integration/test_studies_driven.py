"""Studies whose points follow from results, and points that go several to a task."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.errors import MecapyError, UnavailableError
from mecapy_platform.core.states import Usage
from mecapy_platform.core.workflows.states import CallState
from mecapy_platform.db.session import make_engine
from mecapy_platform.db.tables import Task
from mecapy_platform.db.workflow_tables import Call
from mecapy_platform.services.finish import Outcome, finish
from mecapy_platform.services.studies.drawing import Drawer
from mecapy_platform.services.studies.due import DrivenStudies
from mecapy_platform.services.tasks.call_ends import CallEnd
from mecapy_platform.services.tasks.values import values_of
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database
from support.studied import Company, DyingDatabase, numbers
from support.worked import USUAL, Worked, failed, take, work


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiPlatform]:
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("driven")) as running:
        yield running


@pytest.fixture
def company(platform: ApiPlatform) -> Iterator[Company]:
    made = Company(platform)
    yield made
    with platform.worker_database.transaction() as session:  # what stays due would be another test's
        session.execute(text("DELETE FROM due_marks"))


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
    found = company.client.post(f"/studies/{study['id']}/statistics", json={"wanted": ["moments"]})
    assert found.json()["statistics"]["moments"]["stress"]["count"] == ended["points"]


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
