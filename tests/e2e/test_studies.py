"""Studies on a whole platform whose processes are killed meanwhile: the points themselves are the judge."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.client.client import Client
from mecapy_platform.client.loading import CallFailedError, LoadedPackage
from mecapy_platform.core.errors import NotFoundError
from support.platform.running_platform import Running, archive, deploy, platform

POINTS = 600
MANIFEST = """
version: "1"
package: {name: springs, version: 1.0.0, visibility: internal}
runtime: {kind: python, version: "3.11"}
functions:
  force:
    handler: springs:force
    inputs: {stiffness: Float, travel: Length}
    outputs: {force: Force}
    resources: {tier: nano, timeout: 5}
"""
CODE = """
def force(stiffness, travel):
    if travel < 0:
        raise ValueError("A spring that is pushed needs a guide.")
    return {"force": stiffness * travel}
"""


@dataclass(frozen=True)
class Ready:
    running: Running
    client: Client


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with platform() as running, running.client() as http:
        deploy(http, archive(MANIFEST, {"springs.py": CODE}), organization="demo")
        with Client(running.url, running.token("ann", "demo"), organization="demo") as client:
            yield Ready(running, client)


def study(points: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    design = {"kind": "list", "points": points}
    return {"name": "pull", "package": "springs", "function": "force", "design": design, "options": options}


def test_every_point_is_calculated_once_whatever_is_killed_meanwhile(ready: Ready) -> None:
    points = [{"stiffness": float(number), "travel": "12 mm"} for number in range(POINTS)]
    made = ready.client.studies.create(study(points, parallel=50))
    killed, seen = [], [0]
    victims = [name for name in ready.running.parts if name != "launcher"]

    def kill_one_more(found: Any) -> None:
        """Each of them, as the study goes on."""
        if victims and found.ended_points >= seen[0]:
            name = victims.pop()
            for pid in ready.running.parts.get(name, []):
                os.kill(pid, signal.SIGKILL)
            killed.append(name)
            seen[0] = found.ended_points + POINTS // 15

    ended = ready.client.studies.wait(made.id, step_seconds=0.5, timeout_seconds=240, on_look=kill_one_more)
    assert (ended.state, ended.completed, ended.failed) == ("completed", POINTS, 0)
    assert len(killed) >= 4, killed
    found = list(ready.client.studies.points(made.id))
    assert [point.index for point in found] == list(range(POINTS))
    assert [point.result for point in found] == [{"force": pytest.approx(number * 0.012)} for number in range(POINTS)]
    assert all(point.task_id for point in found)


def test_failed_points_say_why_and_the_table_holds_all(ready: Ready, tmp_path: Path) -> None:
    points = [{"stiffness": 1000.0, "travel": travel} for travel in ("10 mm", "-5 mm", "20 mm", "-1 mm")]
    ended = ready.client.studies.wait(ready.client.studies.create(study(points)).id, timeout_seconds=60)
    assert (ended.state, ended.completed, ended.failed) == ("completed", 2, 2)
    (group,) = ready.client.studies.failures(ended.id)
    assert (group["points"], group["first"]) == (2, 1)
    assert "needs a guide" in group["message"]
    target = tmp_path / "points.csv"
    assert ready.client.studies.export(ended.id, "csv", target) == target.stat().st_size
    header, *rows = target.read_text().splitlines()
    assert header == "index,state,stiffness,travel,force,error"
    assert [row.split(",")[1] for row in rows] == ["completed", "failed", "completed", "failed"]


def test_functions_are_called_as_python_calls_them(ready: Ready) -> None:
    springs = ready.client.load("demo/springs")
    assert isinstance(springs, LoadedPackage)
    assert springs.force(stiffness=1000.0, travel="12 mm") == {"force": pytest.approx(12.0)}
    seen: list[tuple[int, int]] = []
    inputs = [{"stiffness": float(number), "travel": "10 mm"} for number in range(30)]
    found = springs.force.map(inputs, on_progress=lambda done, of: seen.append((done, of)))
    assert [item["force"] for item in found] == [pytest.approx(number * 0.01) for number in range(30)]
    assert seen[-1] == (30, 30)
    with pytest.raises(CallFailedError, match="needs a guide"):
        springs.force(stiffness=1.0, travel="-1 mm")
    with pytest.raises(AttributeError, match="It has: force"):
        springs.nothing(x=1)
    with pytest.raises(NotFoundError):
        ready.client.load("demo/absent")


def test_an_estimate_learns_from_what_ran(ready: Ready) -> None:
    found = ready.client.studies.estimate(study([{"stiffness": 1.0, "travel": "1 mm"}] * 10))
    assert (found.points, found.waiting_before) == (10, 0)
    assert found.seconds_each <= 5.0


def test_a_cancelled_study_leaves_no_task_running(ready: Ready) -> None:
    points = [{"stiffness": 1.0, "travel": "1 mm"}] * 3000
    made = ready.client.studies.create(study(points))
    ready.client.studies.cancel(made.id)
    ended = ready.client.studies.wait(made.id, timeout_seconds=60)
    assert (ended.state, ended.waiting, ended.running) == ("cancelled", 0, 0)
    assert ended.completed + ended.cancelled == 3000
    with ready.running.client() as http:
        left = [http.get("/tasks", params={"state": state}).json()["tasks"] for state in ("queued", "running")]
    assert left == [[], []]
