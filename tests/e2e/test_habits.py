"""What people type and write out of habit, through the command line, the API and test cases of one platform."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.platform.running_platform import Running, archive, deploy, platform

MANIFEST = """
version: "1"
package: {name: habits, version: 1.0.0}
runtime: {kind: python, version: "3.11", requirements: true}
functions:
  pull:
    handler: habits:pull
    inputs:
      grade: String
      factor: Float
      force: Force
      speed: {type: Frequency, required: false}
      stiffness: "Float[N/mm]"
      deck: File[inp]
    outputs: {seen: Float, stress: Stress, stiffness: "Float[N/mm]", grade: String, read: Integer}
    resources: {tier: nano, timeout: 20}
  capture:
    handler: habits:capture
    outputs: {size: Integer}
    resources: {tier: nano, timeout: 20}
    testcases: cases.json
"""
CODE = """
import os
import socket

import packaging


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def pull(grade, factor, force, stiffness, deck, speed=0.0):
    seen = {"seen": factor * force + speed, "stress": 562.5e6, "read": len(deck.read_text())}
    return {**seen, "stiffness": stiffness, "grade": grade}


def capture(load: float = 0.0):
    held = os.dup(1)
    os.dup2(os.open("printed.log", os.O_WRONLY | os.O_CREAT), 1)
    os.write(1, b"by a library")
    os.dup2(held, 1)
    return {"size": os.path.getsize("printed.log")}
"""
CASES = {
    "function": "habits:capture",
    "test_cases": [{"name": "a log", "inputs": {}, "expected_outputs": {"size": 12}}],
}
FILES = {
    "habits.py": CODE,
    "requirements.txt": "-r more/base.txt\n",
    "more/base.txt": "packaging\n",
    "cases.json": json.dumps(CASES),
}


@dataclass
class Place:
    """A platform with the package on it, and the environment of its user's shell."""

    running: Running
    client: httpx2.Client
    deployed: dict[str, Any]
    environment: dict[str, str]
    folder: Path

    def mecapy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mecapy_platform.cli", *arguments]
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("habits")
    (folder / "beam.inp").write_text("*STEP")
    with platform() as running, running.client() as client:
        found = deploy(client, archive(MANIFEST, FILES), organization="demo")
        names = {"MECAPY_API_URL": running.url, "MECAPY_TOKEN": running.ready["token"], "HOME": str(folder)}
        yield Place(running, client, found, {"PATH": "/usr/bin:/bin", **names}, folder)


def test_includes_and_a_captured_stream_build_and_their_case_passes(place: Place) -> None:
    assert place.deployed["status"] == "ready"
    answer = place.client.post(
        "/tasks", params={"wait": 30}, json={"package": "habits", "function": "capture", "inputs": {}}
    )
    task = place.client.get(f"/tasks/{answer.json()['id']}", params={"wait": 30}).json()
    assert (task["state"], task["result"]) == ("completed", {"size": 12})


def test_the_command_line_reads_what_an_engineer_types(place: Place) -> None:
    typed = ("grade=8.8", "factor=1,5", "force=12 daN", "speed=3000 tr/min", "stiffness=2,5 kN/m", "deck=beam.inp")
    done = place.mecapy("run", "habits:pull", *typed)
    assert done.returncode == 0, done.stderr
    cells = " ".join(done.stdout.split())
    for shown in ("seen 230 ", "stress 562.5 MPa", "stiffness 2.5 N/mm", "grade 8.8", "read 5"):
        assert shown in f"{cells} "
    plain = place.mecapy("run", "habits:pull", *typed, "--si")
    assert "5.625e+08 Pa" in " ".join(plain.stdout.split())


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("force=1,234 N", "deck=beam.inp"), "1234 N"),
        (("force=12 N", "deck=missing.inp"), "deck=@PATH"),
        (("force=12 N",), "deck=@PATH"),
        (("force=12 Pa", "deck=@beam.inp"), "a pressure"),
    ],
)
def test_mistakes_are_said_in_words_of_the_command_line(place: Place, typed: tuple[str, ...], said: str) -> None:
    done = place.mecapy("run", "habits:pull", "grade=x", "factor=1", "stiffness=1", *typed)
    assert done.returncode == 7, done.stderr
    assert said in done.stderr
    assert "upload id" not in done.stderr


def test_published_paths_show_float_for_a_number_with_a_unit(place: Place) -> None:
    functions = place.client.get(f"/packages/{place.deployed['id']}").json()["functions"]
    spec = next(function["io_spec"] for function in functions if function["name"] == "pull")
    assert spec["outputs"]["stiffness"]["type"] == "Float"
    assert spec["inputs"]["stiffness"]["declared_type"] == "Float[N/mm]"
