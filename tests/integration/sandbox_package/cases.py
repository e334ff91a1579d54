"""Handlers that the contract suite runs inside each sandbox. Standard library only, Python >= 3.10."""

import ctypes
import enum
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypedDict

OUT = Path("/workspace/out")
ARTIFACTS = OUT / "artifacts"


def pause(seconds: float) -> None:
    """Wait like a calculation that says nothing."""
    threading.Event().wait(seconds)


def double(value: int) -> int:
    return value * 2


def copy_file(scale: int, mesh: Path) -> dict[str, Any]:
    (OUT / "files" / "copy.step").write_bytes(mesh.read_bytes() * scale)
    (ARTIFACTS / "deep").mkdir()
    (ARTIFACTS / "deep" / "log.txt").write_text("kept")
    scratch = Path("/workspace/scratch/made.txt")
    scratch.write_text("via path")
    return {"suffix": mesh.suffix, "returned": scratch}


def environment() -> dict[str, Any]:
    return {"result": dict(os.environ)}


def waits_for_stop() -> None:
    print("ready")
    with (OUT / "progress.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 1, "total": 2, "message": "é"}, ensure_ascii=False) + "\n")
    pause(60)


def saves_on_sigterm() -> None:
    def save(*_: object) -> NoReturn:
        (ARTIFACTS / "partial.txt").write_text("saved")
        os._exit(0)

    signal.signal(signal.SIGTERM, save)
    print("ready")
    pause(60)


def counts(count: int, seconds: float) -> int:
    with (OUT / "progress.jsonl").open("a", encoding="utf-8") as file:
        for number in range(count):
            print(f"line {number}")
            file.write(json.dumps({"step": number}) + "\n")
            file.flush()
            pause(seconds)
    return count


def pretends_to_be_first(seconds: float) -> dict[str, int]:
    """Speak on the socket between a container's first process and its worker; count the answers."""
    tried = believed = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(0.5)
            try:
                link.connect("/mecapy/port/socket")
                tried += 1
                ended = {
                    "reason": "exited",
                    "detail": "",
                    "stop": "",
                    "exit_code": 0,
                    "signal": None,
                    "wall_seconds": 1,
                    "log_bytes": 0,
                }
                hello = json.dumps({"hello": {"ended": ended, "running": True, "seconds": 1}}).encode() + b"\n"
                folder = os.open("/etc", os.O_RDONLY)
                socket.send_fds(link, [hello], [folder, folder])
                os.close(folder)
                believed += bool(link.recv(100))
            except OSError:
                pass
        pause(0.001)
    return {"tried": tried, "believed": believed}


def floods_progress() -> int:
    """More lines and bytes than the limits of the test."""
    with (OUT / "progress.jsonl").open("w") as target:
        for step in range(100_000):
            target.write(json.dumps({"step": step}) + "\n")
    return 100_000


def bad_progress() -> None:
    (OUT / "progress.jsonl").write_text('{"step": 1}\nnot json\n[2]\n{"step": NaN}\n{"step": 3}\n')


def prints() -> None:
    for byte in "één\n".encode():
        os.write(1, bytes([byte]))
        pause(0.005)
    sys.stderr.write("oops\n")
    sys.stdout.write("last without newline")


def prints_much(kilobytes: int) -> str:
    line = "x" * 1023 + "\n"
    for _ in range(kilobytes):
        sys.stdout.write(line)
    return "done"


def raises() -> None:
    raise ValueError("load must be positive")


def exits() -> None:
    sys.exit(3)


def exits_at_once() -> None:
    os._exit(7)


def exits_with_zero() -> None:
    sys.exit(0)


def crashes() -> None:
    ctypes.string_at(0)


def odd_result(kind: str) -> dict[str, Any]:
    itself: list[Any] = []
    itself.append(itself)
    odd: dict[str, dict[str, Any]] = {
        "nan": {"x": float("nan")},
        "infinity": {"x": {"y": [1.0, float("inf")]}},
        "complex": {"x": 1 + 2j},
        "bytes": {"x": b"abc"},
        "set": {"x": {1, 2}},
        "keys": {"x": {1: 2}},
        "itself": {"x": itself},
        "surrogate": {"x": "\ud800"},
    }
    return odd[kind]


class Level(enum.Enum):
    HIGH = "high"


@dataclass
class Force:
    x: float
    y: int


class Named(NamedTuple):
    a: int
    b: list[Any]


def structures() -> dict[str, Any]:
    return {"force": Force(1.0, 2), "list": (1, 2), "level": Level.HIGH, "named": Named(1, [True, None])}


def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(3):
        os.fork()
    pause(60)


def silent(marker: str = "") -> None:
    os.environ["MARKER"] = marker
    if marker:
        subprocess.run([sys.executable, "-c", "import threading; threading.Event().wait(60)", marker], check=False)
    pause(60)


class Answer(TypedDict):
    stress: float
    report: Path


def typed(diameter: float, mesh: Path, factor: float = 1.0) -> Answer:
    raise AssertionError("describing does not call")


def takes_memory(megabytes: int) -> int:
    held = []
    for _ in range(megabytes):
        held.append(bytearray(os.urandom(1) * (1 << 20)))
        pause(0.002)
    return len(held)


def child_takes_memory(megabytes: int) -> int:
    pid = os.fork()
    if pid == 0:
        takes_memory(megabytes)
        pause(10)
        os._exit(0)
    os.waitpid(pid, 0)
    pause(2)
    return 0


def children_take_memory(children: int, megabytes: int) -> None:
    """Each of them takes little, all together too much."""
    for _ in range(children):
        if os.fork() == 0:
            held = [bytearray(os.urandom(1) * (1 << 20)) for _ in range(megabytes)]
            pause(20)
            os._exit(len(held) % 2)
    pause(20)


def forks_until_refused() -> None:
    while True:
        if os.fork() == 0:
            pause(30)
            os._exit(0)


def forks_and_fails(count: int) -> None:
    for _ in range(count):
        if os.fork() == 0:
            pause(30)
            os._exit(0)
    raise ValueError("for another reason")


def stays_full(seconds: float) -> dict[str, int]:
    """A place as full as it may be, for a while: the limit is met, not passed."""
    place = Path("/workspace/scratch/fill")
    with suppress(OSError), place.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    written = place.stat().st_size
    pause(seconds)
    place.unlink()
    return {"written": written}


def fills_disk() -> None:
    with open("/workspace/scratch/large", "wb") as file:
        file.writelines(b"x" * (1 << 20) for _ in range(64))


def makes_files(count: int) -> None:
    for number in range(count):
        Path(f"/tmp/{number}").touch()


def makes_artifacts(count: int) -> None:
    for number in range(count):
        (ARTIFACTS / f"{number}.txt").write_text("four")


def large_result(size: int) -> str:
    return "x" * size


def forks(count: int) -> int:
    children = []
    for _ in range(count):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            pause(30)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return len(children)


def plants() -> None:
    (ARTIFACTS / "plain.txt").write_text("plain")
    (ARTIFACTS / "link").symlink_to("/etc/passwd")
    (ARTIFACTS / "folder-link").symlink_to("/workspace/scratch")
    os.mkfifo(ARTIFACTS / "fifo")
    with (ARTIFACTS / "sparse").open("wb") as file:
        file.truncate(10 << 20)
    (ARTIFACTS / "hard-1").write_text("same")
    os.link(ARTIFACTS / "hard-1", ARTIFACTS / "hard-2")
    socket.socket(socket.AF_UNIX).bind(str(ARTIFACTS / "socket"))


def links_result() -> NoReturn:
    (OUT / "data.json").symlink_to("/etc/passwd")
    os._exit(0)


def closes_modes() -> None:
    folder = ARTIFACTS / "closed"
    folder.mkdir()
    (folder / "inside.txt").write_text("seen")
    (folder / "inside.txt").chmod(0)
    folder.chmod(0)
    ARTIFACTS.chmod(0)


def leaves_child(marker: str) -> str:
    subprocess.Popen(
        [sys.executable, "-c", "import threading; threading.Event().wait(60)", marker], start_new_session=True
    )
    return "left"


def square(value: int) -> int:
    return value * value


def uses_science() -> dict[str, Any]:
    import multiprocessing

    import numpy as np
    from scipy.linalg import solve

    with multiprocessing.get_context("spawn").Pool(2) as pool:
        squares = pool.map(square, range(4))
    vector = np.array([3.0, 4.0])
    return {
        "solution": solve(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([2.0, 6.0])),
        "norm": np.linalg.norm(vector),
        "squares": squares,
        "count": np.int64(3),
        "flag": np.bool_(1),
    }


def runs_tool(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def leaves_everything() -> dict[str, Any]:
    """Change whatever one task could leave to the next one, then say what was changed."""
    import builtins
    import random
    import resource
    import tempfile

    for folder in ("/tmp", "/dev/shm", "/workspace/scratch", "/workspace/out"):
        Path(folder, "left").write_text("left")
    os.environ["LEFT"] = "left"
    builtins.left = "left"  # type: ignore[attr-defined]
    json.left = "left"  # type: ignore[attr-defined]
    sys.path.insert(0, "/workspace/scratch")
    sys.modules["left"] = json
    random.seed(1)
    os.umask(0o077)
    os.chdir("/tmp")
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.alarm(3600)
    tempfile.tempdir = "/dev/shm"
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    os.dup2(os.open("/dev/zero", os.O_RDONLY), 50)
    threading.Thread(target=pause, args=(60,), daemon=True).start()
    subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait(60)"])
    return {"random": random.random()}


def looks_for_leftovers() -> dict[str, Any]:
    import builtins
    import random
    import resource
    import tempfile

    places = [
        folder
        for folder in ("/tmp", "/dev/shm", "/workspace/scratch", "/workspace/out")
        if Path(folder, "left").exists()
    ]
    names = [name for name in ("LEFT",) if name in os.environ]
    modules = [name for name in ("left",) if name in sys.modules]
    patched = [thing.__name__ for thing in (builtins, json) if hasattr(thing, "left")]
    mask = os.umask(0o022)
    return {
        "left": places + names + modules + patched,
        "path": "/workspace/scratch" in sys.path,
        "umask": mask,
        "cwd": str(Path.cwd()),
        "handler": str(signal.getsignal(signal.SIGUSR1)),
        "alarm": signal.alarm(0),
        "tempdir": tempfile.gettempdir(),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "processes": sorted(
            int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in {1, os.getpid()}
        ),
        "random": random.random(),
    }


def uses_loaded_numpy(size: int) -> dict[str, Any]:
    loaded_ahead = "numpy" in sys.modules
    import numpy as np

    square = np.ones((size, size)) @ np.ones((size, size))
    threads = Path("/proc/self/status").read_text().split("Threads:")[1].split()[0]
    random = float(np.random.rand())  # noqa: NPY002 - the state that all of a process share is what is looked at
    return {"loaded_ahead": loaded_ahead, "trace": float(square.trace()), "random": random, "threads": int(threads)}


def double_slowly() -> str:
    pause(1.5)
    return "slowly"


def weighs_inputs(text: str, **files: Path) -> dict[str, int]:
    Path("/workspace/scratch/own.bin").write_bytes(b"z" * (900 << 10))
    written = Path("/workspace/scratch/own.bin").stat().st_size
    return {"bytes": sum(len(file.read_bytes()) for file in files.values()), "text": len(text), "written": written}
