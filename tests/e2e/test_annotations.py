"""Annotations that people write, through a whole platform: ports, what the handler is given, what cannot be read."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest

from support import factories
from support.platform.running_platform import Running, platform

MANIFEST = """
version: "1"
package: {{name: {name}, version: 1.0.0}}
runtime: {{kind: python, version: "3.11"}}
functions:
  choose: {{handler: "main:choose"}}
  weigh: {{handler: "main:weigh"}}
"""
CODE = """
from __future__ import annotations

import enum
from dataclasses import dataclass


class Grade(enum.Enum):
    S235 = 235e6
    S355 = 355e6


@dataclass
class Beam:
    length: float
    grade: str = "S235"


def choose(grade: Grade = Grade.S235) -> float:
    assert isinstance(grade, Grade)
    return grade.value


def weigh(beam: Beam, others: list[Beam] | None = None) -> float:
    assert all(isinstance(one, Beam) for one in (beam, *(others or [])))
    return sum(len(one.grade) * one.length for one in (beam, *(others or [])))
"""
UNREADABLE = CODE.replace("grade: Grade = Grade.S235)", "grade: bytes, size: complex)").replace(
    "beam: Beam,", "beam: Nowhere,"
)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform({"MECAPY_ALLOW_NEWER_PYTHON": "1", "MECAPY_AUDIT_SERVICE": "0"}) as started:
        yield started


@pytest.fixture
def client(running: Running) -> Iterator[httpx2.Client]:
    with running.client(running.token("ada", factories.unique("acme"))) as made:
        yield made


def deploy(client: httpx2.Client, name: str, code: str) -> dict[str, Any]:
    archive = factories.archive(manifest=MANIFEST.format(name=name), files={"main.py": code})
    answer = client.post("/packages/from-zip", files={"file": ("p.zip", archive, "application/zip")})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def call(client: httpx2.Client, package: str, function: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    body = {"package": package, "function": function, "inputs": inputs}
    answer = client.post("/tasks", params={"wait": 60}, json=body)
    return {"status": answer.status_code, **answer.json()}


def test_what_cannot_be_read_is_said_for_all_functions_and_the_number_is_free_again(client: httpx2.Client) -> None:
    name = factories.unique("annotated")
    broken = deploy(client, name, UNREADABLE)
    assert broken["package"]["status"] == "error"
    said = str(broken["validation_results"])
    for path in ("functions.choose.inputs.grade", "functions.choose.inputs.size", "functions.weigh.inputs.beam"):
        assert path in said
    mended = deploy(client, name, CODE)
    assert (mended["package"]["status"], mended["package"]["version"]) == ("ready", "1.0.0"), mended
    assert call(client, name, "choose", {})["result"] == {"result": 235e6}


def test_the_handler_is_given_members_and_instances(client: httpx2.Client) -> None:
    name = factories.unique("annotated")
    deployed = deploy(client, name, CODE)
    assert deployed["package"]["status"] == "ready", deployed["validation_results"]
    assert call(client, name, "choose", {"grade": "S355"})["result"] == {"result": 355e6}
    refused = call(client, name, "choose", {"grade": "S999"})
    assert (refused["status"], "S235, S355" in str(refused)) == (422, True)
    assert call(client, name, "weigh", {"beam": {"length": 2}})["result"] == {"result": 8.0}
    both = {"beam": {"length": 2}, "others": [{"length": 1, "grade": "S"}]}
    assert call(client, name, "weigh", both)["result"] == {"result": 9.0}
    assert call(client, name, "weigh", {"beam": {"grade": "S235"}})["status"] == 422
