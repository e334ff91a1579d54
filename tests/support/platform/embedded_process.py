"""Starts the real launcher in a process of its own, as root or as an ordinary user, and looks at what it made."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

import mecapy_platform
from mecapy_platform.embedded import interpreters
from mecapy_platform.embedded.private_view import Need, build

REAL = (str(Path(sys.executable).with_name("mecapy")), "up")
STANDIN = Path(__file__).with_name("standin_program.py")
NOBODY = 65534


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Poll until the condition gives something true."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if found := condition():
            return found
        pause.wait(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


class Started:
    """A launcher with its console output and its ready file."""

    def __init__(self, process: subprocess.Popen[str], ready_file: Path) -> None:
        self.process = process
        self.ready_file = ready_file
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def ready(self) -> dict[str, Any]:
        """The ready file's content; fails with the console's text when the launcher ends first."""

        def look() -> bool:
            assert self.process.poll() is None, "\n".join(self.lines)
            return self.ready_file.exists()

        wait_for(look, "ready file", 60)
        content: dict[str, Any] = json.loads(self.ready_file.read_text())
        return content

    def tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def runs(self, name: str) -> bool:
        """Whether a process of the tree has this name; one that has just gone has none."""
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                if process.name() == name:
                    return True
        return False

    def said(self, words: str) -> str:
        return str(
            wait_for(lambda: next((line for line in self.lines if words in line), None), f"a line with {words!r}")
        )

    def close(self) -> None:
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def finish(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(10)
        return code


@contextmanager
def launched(
    data: Path, *options: str, uid: int | None = None, program: tuple[str, ...] = (str(STANDIN),)
) -> Iterator[Started]:
    """The launcher on a data directory; ended, whatever the test did."""
    ready_file = data.parent / f"{data.name}.ready"
    view = None if uid is None or os.geteuid() != 0 else build([Need(path) for path in code_paths()], {})

    def become() -> None:
        assert view is not None
        view.enter()
        os.setgroups([])
        os.setresgid(uid or 0, uid or 0, uid or 0)
        os.setresuid(uid or 0, uid or 0, uid or 0)

    process = subprocess.Popen(
        [sys.executable, *program, "--data", str(data), "--ready-file", str(ready_file), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env={**os.environ, "HOME": str(data.parent)},
        preexec_fn=become if view is not None else None,  # noqa: PLW1509 - system calls alone
    )
    started = Started(process, ready_file)
    try:
        yield started
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
            process.wait()
        started.close()
        if view is not None:
            view.close()


def code_paths() -> list[Path]:
    code = Path(mecapy_platform.__file__).parents[1]
    found = [item.prefix for item in interpreters.find().values()]
    return [Path(sys.prefix), Path(sys.base_prefix), code, STANDIN.parent, *found]


@contextmanager
def open_directory(uid: int | None = None) -> Iterator[Path]:
    """A directory below /tmp that other users can pass through; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory(prefix="mecapy-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        if uid is not None and os.geteuid() == 0:
            os.chown(path, uid, uid)
        yield path
