"""The base distribution alone, in a virtual environment of its own, against a platform elsewhere on loopback."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.platform.running_platform import Running, platform

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
PARTS_OF_A_SERVER = (
    "fastapi",
    "uvicorn",
    "celery",
    "sqlalchemy",
    "psycopg",
    "redis",
    "alembic",
    "uv",
    "jwt",
    "psutil",
    "pydantic_settings",
)
LISTED = (
    "import json, importlib.metadata as m; print(json.dumps(sorted({d.metadata['Name'].lower() for d in "
    "m.distributions()})))"
)
IMPORTABLE = f"import importlib.util as u; print([name for name in {PARTS_OF_A_SERVER} if u.find_spec(name)])"
MANIFEST = """
version: "1"
package: {name: report, version: 1.0.0}
runtime: {kind: python, version: "3.11"}
functions:
  write:
    handler: report:write
    inputs: {load: Force}
    outputs: {force: Force, note: {type: "File[txt]", required: true}}
    resources: {tier: nano, timeout: 20}
"""
CODE = """
def write(load):
    print(f"load {load:g} N")
    with open("/workspace/out/files/note.txt", "w") as file:
        file.write(f"{load:g}")
    return {"force": load}
"""


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel and what it needs, and a home of its own."""

    python: Path
    home: Path

    def mecapy(self, *arguments: str, code: int = 0, **extra: str) -> str:
        done = self.run(str(self.python.with_name("mecapy")), *arguments, **extra)
        assert done.returncode == code, f"mecapy {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.mecapy(*arguments, "--json"))

    def run(self, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "COLUMNS": "200", **extra}
        return subprocess.run(
            command, cwd=self.home, env=environment, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("base")
    wheels, venv, home = folder / "wheels", folder / "venv", folder / "home"
    home.mkdir()
    call(
        "build",
        "--quiet",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--out-dir",
        str(wheels),
        str(ROOT),
    )
    call("venv", "--quiet", "--python", sys.executable, str(venv))
    python = venv / "bin" / "python"
    call(
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
        "--require-hashes",
        "-r",
        str(ROOT / "requirements" / "base.txt"),
    )
    call("pip", "install", "--quiet", "--python", str(python), "--no-deps", str(next(wheels.glob("*.whl"))))
    call("pip", "check", "--quiet", "--python", str(python))
    return Installed(python, home)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform() as started:
        yield started


@pytest.fixture
def logged_in(base: Installed, running: Running) -> Installed:
    base.mecapy("login", "--url", running.url, "--token", running.token("erika", "base"), "--org", "base")
    return base


def call(*arguments: str) -> None:
    done = subprocess.run([str(UV), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def names(requirements: str) -> set[str]:
    return set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements" / requirements).read_text(), re.MULTILINE))


def write(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_it_holds_nothing_of_a_server(base: Installed) -> None:
    installed = set(json.loads(base.run(str(base.python), "-c", LISTED).stdout))
    assert "mecapy-platform" in installed
    assert installed & (names("server.txt") - names("base.txt")) == set()
    assert base.run(str(base.python), "-c", IMPORTABLE).stdout.strip() == "[]"


def test_a_new_package_passes_its_own_test_without_a_platform(base: Installed) -> None:
    base.mecapy("init", "lever")
    verdicts = base.json("test", "lever")
    assert verdicts["failed"] == 0
    assert verdicts["passed"] > 0
    assert f"{verdicts['passed']} passed, 0 failed" in base.mecapy("test", "lever")


def test_a_package_is_deployed_run_and_shown_as_a_table(logged_in: Installed) -> None:
    logged_in.mecapy("init", "cantilever")
    assert "deployed cantilever 0.1.0 (ready)" in logged_in.mecapy("deploy", "cantilever")
    shown = logged_in.mecapy("run", "cantilever:deflection", "load=100N", "length=1 m", "diameter=20 mm")
    deflection = 100 / (3 * 210e9 * (3.141592653589793 * 0.02**4 / 64))
    assert re.search(r"deflection\s+\S+\s+\S*m\b", shown)
    result = logged_in.json("run", "cantilever:deflection", "load=100N", "length=1 m", "diameter=20 mm")["result"]
    assert result["deflection"] == pytest.approx(deflection, rel=1e-9)
    assert len(logged_in.json("tasks", "--package", "cantilever")) == 2
    assert logged_in.mecapy("tasks", "--package", "cantilever").count("completed") == 2
    assert "base/cantilever" in logged_in.mecapy("packages")


def test_logs_and_files_of_a_task_reach_the_other_machine(logged_in: Installed, tmp_path: Path) -> None:
    logged_in.mecapy("deploy", str(write(tmp_path / "report", {"mecapy.yml": MANIFEST, "report.py": CODE})))
    task = logged_in.json("run", "report:write", "load=2 kN")
    assert (task["state"], task["result"]["force"]) == ("completed", 2000.0)
    assert logged_in.mecapy("logs", task["id"]) == "load 2000 N\n"
    (found,) = logged_in.json("download", task["id"], "-o", str(tmp_path / "got"))
    assert Path(found["path"]).read_text() == "2000"
    assert logged_in.json("task", "show", task["id"])["state"] == "completed"


def test_a_refused_input_is_said_by_port(logged_in: Installed, tmp_path: Path) -> None:
    logged_in.mecapy("init", "refusing")
    logged_in.mecapy("deploy", "refusing")
    said = logged_in.mecapy("run", "refusing:deflection", "load=12 kg", "length=1 m", "diameter=20 mm", code=7)
    assert "load" in said


@pytest.mark.parametrize("command", ["up", "doctor", "token", "server"])
def test_what_needs_the_platform_says_what_to_install(base: Installed, command: str) -> None:
    assert 'pip install "mecapy-platform[server]"' in base.mecapy(command, "--help", code=2)
