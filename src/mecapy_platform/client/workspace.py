"""One call of a handler on this machine.

A temporary workspace as the runtime contract says, a child process, its outputs.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mecapy_platform
from mecapy_platform.core.resources import Resources

ROOT = Path(mecapy_platform.__file__).parent
GUEST = ROOT / "sandbox" / "guest"
DRIVER = ROOT / "client" / "local_guest.py"
KEPT_ENVIRONMENT = (
    "PATH",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "COMSPEC",
    "PATHEXT",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
)
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
KILL_SECONDS = 5.0


@dataclass(frozen=True)
class LocalCall:
    """What to call with what, by which interpreter, for how long. `mode` is "run" or "describe"."""

    package: Path
    program: Path
    mode: str
    handler: str | None
    data: Mapping[str, Any]
    files: Mapping[str, Path]
    resources: Resources
    required: Sequence[str] = ()
    optional: Sequence[str] = ()


@dataclass(frozen=True)
class LocalEnd:
    """What came of a call: the text of out/data.json, or the error; the names of the files in out/files."""

    result: bytes | None
    error: Mapping[str, Any] | None
    files: tuple[str, ...]
    output: str
    is_timeout: bool = False


def call(order: LocalCall) -> LocalEnd:
    """Run in a fresh workspace that is gone afterwards.

    No isolation: this is the user's own code on the user's own machine.
    """
    with _workspace(order) as workspace:
        out = workspace / "out"
        text, is_timeout = _run(order, workspace)
        result, error = _read(out / "data.json"), _read(out / "_runner_error.json")
        files = tuple(
            sorted(path.name for path in (out / "files").iterdir() if path.is_file() and path.name != "list.json")
        )
        return LocalEnd(
            result if error is None else None, json.loads(error) if error else None, files, text, is_timeout
        )


@contextmanager
def _workspace(order: LocalCall) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mecapy-test-", ignore_cleanup_errors=True) as name:
        workspace = Path(name).resolve()
        for part in ("in/files", "out/files", "out/artifacts", "scratch"):
            (workspace / part).mkdir(parents=True)
        (workspace / "in" / "data.json").write_text(json.dumps(dict(order.data)), encoding="utf-8")
        for port, path in order.files.items():
            shutil.copyfile(path, workspace / "in" / "files" / f"{port}{path.suffix}")
        yield workspace


def _run(order: LocalCall, workspace: Path) -> tuple[str, bool]:
    """Everything it printed, and whether the time limit ended it."""
    lists = {"required": list(order.required), "optional": list(order.optional)}
    message = json.dumps({"mode": order.mode, "handler": order.handler, "site": False, "files": lists})
    # not -P: that is 3.11; the driver takes its own directory off the path
    command = [
        str(order.program),
        "-I",
        "-B",
        str(DRIVER),
        str(GUEST),
        str(order.package.resolve()),
        workspace.as_posix(),
        message,
    ]
    with (workspace / "printed").open("w+b") as printed:
        process = subprocess.Popen(
            command,
            cwd=workspace / "scratch",
            env=_environment(order.resources, workspace),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=os.name != "nt",
        )
        is_timeout = False
        try:
            process.wait(order.resources.timeout_seconds)
        except subprocess.TimeoutExpired:
            is_timeout = True
        finally:
            _kill_tree(process)
        printed.seek(0)
        return printed.read(1 << 20).decode("utf-8", "replace"), is_timeout


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End the handler and, where the system can, all it started."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):  # nothing of its group is left
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], check=False, capture_output=True)
    process.wait(KILL_SECONDS)


def _environment(resources: Resources, workspace: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    scratch = str(workspace / "scratch")
    own = {
        "MECAPY_CPU_LIMIT": str(resources.cpu),
        "MECAPY_MEM_LIMIT_MB": str(resources.memory_mb),
        "MECAPY_SCRATCH": scratch,
    }
    folders = dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), scratch)
    return kept | folders | own | dict.fromkeys(THREADS, str(resources.cpu)) | {"PYTHONUTF8": "1"}


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None
