"""The command line as a process of its own: what it imports, what it says without the platform, Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from support.platform.fake_platform import TASK_ID, TOKEN, serve, task


def test_help_imports_neither_http_nor_the_platform() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from mecapy_platform.cli.main import app; "
        "assert 'run' in CliRunner().invoke(app, ['--help']).stdout; "
        "print([name for name in ('httpx2', 'pydantic', 'pint', 'yaml', 'sqlalchemy', 'fastapi') if name in "
        "sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}
    )
    assert done.stdout.strip() == "[]"


def test_without_the_platform_installed_its_commands_say_what_to_install(tmp_path: Path) -> None:
    blocked = tmp_path / "sitecustomize.py"
    names = (
        "sqlalchemy",
        "celery",
        "fastapi",
        "jwt",
        "psycopg",
        "redis",
        "pydantic_settings",
        "cryptography",
        "psutil",
    )
    blocked.write_text(f"import sys\nsys.modules.update(dict.fromkeys({names!r}))\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "MECAPY_CREDENTIALS": str(tmp_path / "c")}
    for name in ("up", "server", "doctor", "token"):
        done = subprocess.run(
            [sys.executable, "-m", "mecapy_platform.cli", name, "--help"],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 2, done.stderr
        assert 'pip install "mecapy-platform[server]"' in done.stderr


def test_ctrl_c_leaves_the_task_running_and_says_how_to_cancel_it(tmp_path: Path) -> None:
    with serve() as platform:
        platform.on("POST /tasks", (201, task("running")))
        platform.on(f"GET /tasks/{TASK_ID}", lambda _: (200, {**task("running"), "progress": {"step": 1}}))
        environment = {
            **os.environ,
            "MECAPY_API_URL": platform.url,
            "MECAPY_TOKEN": TOKEN,
            "MECAPY_CREDENTIALS": str(tmp_path / "c"),
        }
        command = [sys.executable, "-m", "mecapy_platform.cli", "run", "bolts:size"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        assert process.stderr is not None
        assert process.stderr.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 6
        assert f"Cancel: mecapy cancel {TASK_ID}" in said
        assert "Traceback" not in said
        assert not platform.calls(f"POST /tasks/{TASK_ID}/cancel")
