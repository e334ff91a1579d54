"""`mecapy doctor` on this machine: it passes where the platform runs, and names what to do where it would not."""

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from mecapy_platform.cli.doctor import doctor
from mecapy_platform.embedded import interpreters
from mecapy_platform.embedded.checks import check_sandboxes
from mecapy_platform.settings import Settings
from support.backends.docker_daemon import daemon


def run(*arguments: str) -> Result:
    app = Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, list(arguments))


def test_this_machine_passes_and_each_line_says_what_was_found(tmp_path: Path) -> None:
    result = run("--json", "--data", str(tmp_path))
    report = json.loads(result.output)
    assert result.exit_code == 0, [check for check in report["checks"] if not check["holds"]]
    assert report["ok"]
    assert {"versions", "PostgreSQL", "Valkey", "bubblewrap", "user namespaces", "disk", "uv"} <= {
        check["name"] for check in report["checks"]
    }
    assert all(check["detail"] or check["name"].startswith("sandbox ") for check in report["checks"])
    assert "Docker or Kubernetes" in report["note"]


def test_the_sandbox_alone_can_be_tried() -> None:
    report = json.loads(run("--json", "--sandbox").output)
    assert report["checks"]
    assert all(check["name"].startswith("sandbox") for check in report["checks"])


def test_every_backend_that_a_lane_uses_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon() as engine:
        monkeypatch.setenv("MECAPY_SANDBOX_BACKENDS", '{"long_running": "docker"}')
        monkeypatch.setenv("MECAPY_DOCKER_HOST", engine.address)
        report = json.loads(run("--json", "--sandbox").output)
    assert report["ok"], report
    tried = {item["name"] for item in report["checks"]}
    assert {
        f"sandbox {backend}: {check}"
        for backend in ("bubblewrap", "docker")
        for check in ("starts", "memory limit", "no network")
    } <= tried


def test_a_backend_that_is_away_fails_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MECAPY_IMAGES_BACKEND", "docker")
    monkeypatch.setenv("MECAPY_DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    result = run("--json", "--sandbox")
    report = json.loads(result.output)
    assert result.exit_code == 1
    assert {check["name"].partition(":")[0] for check in report["checks"] if not check["holds"]} == {"sandbox docker"}


def test_a_full_disk_fails_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MECAPY_DISK_FLOOR_BYTES", str(1 << 60))
    result = run("--data", str(tmp_path))
    assert result.exit_code == 1
    assert "Free some space" in " ".join(result.output.split())


def test_an_unknown_backend_is_named() -> None:
    checks = check_sandboxes(Settings(sandbox_backend="nonesuch"))
    assert [check.holds for check in checks] == [False]
    assert "nonesuch" in checks[0].detail


def test_interpreters_are_found_below_a_pyenv_and_others_are_not_taken_for_them(tmp_path: Path) -> None:
    ours = next(iter(interpreters.find().values()))
    for folder, target in (("3.12.1", "/bin/true"), (f"{ours.minor}.9", str(ours.executable))):
        program = tmp_path / "versions" / folder / "bin" / f"python{folder.rpartition('.')[0]}"
        program.parent.mkdir(parents=True)
        program.symlink_to(target)
    found = interpreters.find({"PYENV_ROOT": str(tmp_path), "PATH": "", "HOME": str(tmp_path)})
    assert ours.minor in found
    assert all(item.executable.name != "true" for item in found.values())
