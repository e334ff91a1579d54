"""The real `mecapy up`.

A package deployed and run over it by the command line, by root's and by an ordinary user's platform.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.platform.embedded_process import NOBODY, REAL, Started, is_alive, launched, open_directory, wait_for

MECAPY = Path(sys.executable).with_name("mecapy")
PSS_BYTES_MAX = 600 << 20
CALL = ("run", "cantilever:deflection", "load=100N", "length=1 m", "diameter=20 mm", "--json")


def mecapy(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    for name in ("MECAPY_API_URL", "MECAPY_TOKEN"):
        environment.pop(name, None)
    done = subprocess.run(
        [MECAPY, *arguments], cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def proportional_memory(started: Started) -> int:
    total = 0
    for process in started.tree():
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total


@pytest.mark.parametrize(
    "uid", [None, pytest.param(NOBODY, marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"))]
)
def test_the_commands_of_the_greeting_work(tmp_path: Path, uid: int | None) -> None:
    with open_directory(uid) as place, launched(place / "data", uid=uid, program=REAL) as started:
        ready = started.ready()
        assert psutil.Process(ready["parts"]["api"][0]).uids().real != 0
        mecapy(tmp_path, "login", "--data", ready["data"])
        mecapy(tmp_path, "init", "cantilever")
        mecapy(tmp_path, "deploy", "cantilever")
        answer: dict[str, Any] = json.loads(mecapy(tmp_path, *CALL))
        assert "deflection" in json.dumps(answer)
        assert started.finish() == 0
        assert "stopped" in started.lines[-1]


def test_a_token_for_another_user_shows_that_user() -> None:
    with open_directory() as place, launched(place / "data", program=REAL) as started:
        ready = started.ready()
        token = mecapy(place, "token", "--data", ready["data"], "--user", "ada", "--organization", "bridges").strip()
        mecapy(place, "login", "--url", ready["url"], "--token", token)
        who = mecapy(place, "whoami", "--json")
        idle = proportional_memory(started)
    assert "ada" in who
    assert "bridges" in who
    assert idle < PSS_BYTES_MAX


def test_a_killed_platform_leaves_no_process_of_itself_or_of_a_calculation(tmp_path: Path) -> None:
    with open_directory() as place, launched(place / "data", program=REAL) as started:
        mecapy(tmp_path, "login", "--data", started.ready()["data"])
        mecapy(tmp_path, "init", "cantilever")
        handler = tmp_path / "cantilever/handler.py"
        text = (
            handler.read_text()
            .replace("    if min(", "    threading.Event().wait(50)\n    if min(")
            .replace("import math", "import math\nimport threading")
        )
        handler.write_text(text)
        manifest = tmp_path / "cantilever/mecapy.yml"
        manifest.write_text(manifest.read_text().replace("on_deployment: true", "on_deployment: false"))
        mecapy(tmp_path, "deploy", "cantilever")
        before = {process.pid for process in started.tree()}
        mecapy(tmp_path, *CALL[:-1], "--detach")
        wait_for(lambda: started.runs("bwrap"), "a sandbox that runs")
        pids = before | {process.pid for process in started.tree()}
        started.finish(signal.SIGKILL)
        wait_for(lambda: not any(is_alive(pid) for pid in pids), "every process gone", 20)
        with launched(place / "data", program=REAL) as again:
            again.ready()
            assert wait_for(lambda: again.runs("bwrap"), "the calculation is tried again", 60)
