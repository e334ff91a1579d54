"""`mecapy checks` and what `mecapy deploy` says of findings, against a real HTTP server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mecapy_platform.cli.lazy import JSON_MODE
from mecapy_platform.cli.main import app
from support.platform.fake_platform import PACKAGE, TOKEN, FakePlatform, problem, serve

Mecapy = Callable[..., Result]
FOUND = {
    "check": "hostile",
    "rule": "miner",
    "severity": "high",
    "file": "main.py",
    "line": 3,
    "why": "It mines.",
    "advice": "Do not.",
}
STATES = [
    {"check": "hostile", "mode": "enforce", "from": "high", "state": "stopped", "found": 1, "said": ""},
    {"check": "bandit", "mode": "warn", "from": "high", "state": "warned", "found": 1, "said": ""},
    {"check": "secrets", "mode": "off", "from": "high", "state": "off", "found": 0, "said": ""},
    {
        "check": "vulnerabilities",
        "mode": "warn",
        "from": "high",
        "state": "not_checked",
        "found": 0,
        "said": "not checked: nobody answered",
    },
]
REPORT: dict[str, Any] = {
    "version": "1.2.0",
    "status": "error",
    "checks": STATES,
    "findings": [
        {**FOUND, "stops": True},
        {**FOUND, "check": "bandit", "rule": "B101", "severity": "low", "stops": False, "file": "\x1b[2Jother.py"},
    ],
    "left_out": 7,
    "dependencies": [{"name": "numpy", "version": "2.1.0", "licence": ""}],
}
POLICY = {
    "organization": "acme",
    "checks": {"bandit": {"mode": "warn", "from": "high"}},
    "changes": {"secrets": "off", "imports": {"listed": ["a"]}},
}


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with serve() as fake:
        fake.on("GET /packages", (200, {"packages": [PACKAGE], "total": 1}))
        fake.on("GET /packages/p-1", (200, PACKAGE))
        fake.on("GET /packages/p-1/versions/1.2.0/checks", (200, REPORT))
        fake.on("GET /organizations/acme/checks", (200, POLICY))
        fake.on("PUT /organizations/acme/checks", lambda seen: (200, {**POLICY, "changes": seen.json["checks"]}))
        yield fake


@pytest.fixture
def mecapy(platform: FakePlatform, tmp_path: Path) -> Mecapy:
    environment = {
        "MECAPY_API_URL": platform.url,
        "MECAPY_TOKEN": TOKEN,
        "MECAPY_CREDENTIALS": str(tmp_path / "c.json"),
        "MECAPY_ORGANIZATION": "",
    }

    def run(*arguments: str) -> Result:
        token = JSON_MODE.set(False)
        try:
            return CliRunner().invoke(app, list(arguments), env=environment)
        finally:
            JSON_MODE.reset(token)

    return run


def test_a_report_shows_what_stops_with_its_place_and_what_to_do(mecapy: Mecapy) -> None:
    done = mecapy("checks", "report", "bolts")
    assert done.exit_code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "STOPS main.py:3 hostile/miner It mines. Do not." in text
    assert "hostile stopped (1), bandit warned (1), vulnerabilities not_checked" in text
    assert "8 more findings" in text
    assert "not checked: nobody answered" in text
    assert "secrets" not in text


def test_all_findings_are_shown_on_request_and_steer_no_terminal(mecapy: Mecapy) -> None:
    done = mecapy("checks", "report", "bolts@1.2.0", "--all")
    assert "B101" in done.stdout
    assert "\x1b" not in done.stdout
    assert "numpy 2.1.0 ?" in " ".join(done.stdout.split())


def test_a_machine_gets_the_report_as_it_is(mecapy: Mecapy) -> None:
    assert json.loads(mecapy("checks", "report", "bolts", "--json").stdout) == REPORT


def test_the_policy_is_a_table(mecapy: Mecapy) -> None:
    done = mecapy("checks", "policy", "--org", "acme")
    assert "bandit warn high" in " ".join(done.stdout.split())


def test_a_change_keeps_what_was_said_before(mecapy: Mecapy, platform: FakePlatform) -> None:
    done = mecapy("checks", "set", "bandit=enforce:medium", "imports=warn", "--org", "acme")
    assert done.exit_code == 0, done.stderr
    (sent,) = platform.calls("PUT /organizations/acme/checks")
    assert sent.json["checks"] == {
        "secrets": "off",
        "imports": {"listed": ["a"], "mode": "warn"},
        "bandit": {"mode": "enforce", "from": "medium"},
    }


def test_a_change_can_be_taken_back(mecapy: Mecapy, platform: FakePlatform) -> None:
    mecapy("checks", "set", "secrets=default", "--org", "acme")
    mecapy("checks", "set", "--reset", "bandit=off", "--org", "acme")
    first, second = platform.calls("PUT /organizations/acme/checks")
    assert first.json["checks"] == {"imports": {"listed": ["a"]}}
    assert second.json["checks"] == {"bandit": {"mode": "off"}}


def test_a_change_that_cannot_be_understood_is_not_sent(mecapy: Mecapy, platform: FakePlatform) -> None:
    done = mecapy("checks", "set", "bandit", "--org", "acme")
    assert done.exit_code != 0
    assert "CHECK=MODE" in done.stderr
    assert platform.calls("PUT /organizations/acme/checks") == []


def test_who_may_not_change_it_reads_why(mecapy: Mecapy, platform: FakePlatform) -> None:
    platform.on(
        "PUT /organizations/acme/checks", problem(403, "administrator_needed", "Only an administrator may do this.")
    )
    done = mecapy("checks", "set", "bandit=off", "--org", "acme")
    assert done.exit_code != 0
    assert "Only an administrator" in done.stderr


def test_a_deploy_that_is_stopped_shows_the_findings_and_fails(
    mecapy: Mecapy, platform: FakePlatform, tmp_path: Path
) -> None:
    folder = tmp_path / "beams"
    assert mecapy("init", "beams", "--dir", str(folder)).exit_code == 0
    package = {"id": "p-2", "name": "beams", "version": "0.1.0", "status": "error", "functions": []}
    platform.on("POST /packages/from-zip", (200, {"package": package, "functions_deployed": 1}))
    platform.on(
        "GET /packages/p-2/versions",
        (200, {"versions": [{"id": "v-1", "version": "0.1.0", "status": "error", "build_log": "stopped"}]}),
    )
    platform.on("GET /packages/p-2/versions/0.1.0/checks", (200, REPORT))
    done = mecapy("deploy", str(folder))
    assert done.exit_code == 1
    assert "STOPS" in done.stdout
    assert "main.py:3" in done.stdout
