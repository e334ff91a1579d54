"""Calls that share a worker: what they find, and how they try to reach each other."""

import contextlib
import ctypes
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

COUNT: list[object] = []
TABLE = open(__file__)  # noqa: SIM115 - what a module opens, its calls may read
DRAWN = random.random()
PLACES = ("/workspace/scratch", "/tmp", "/dev/shm", "/workspace/out", "/workspace/out/files", "/workspace/in/files")
MARK = "SHARED_MARK"
CLONE_PARENT = 0x8000


def find(value: int = 0) -> dict[str, Any]:
    """What a call finds of others: the same for each of them, whatever came before."""
    COUNT.append(value)
    print(f"call {value}")
    return {
        "value": value,
        "seen": {
            "count": len(COUNT),
            "processes": [
                name for name in os.listdir("/proc") if name.isdigit() and name not in ("1", str(os.getpid()))
            ],
            "parent": os.getppid(),
            "files": sorted(str(path) for place in PLACES for path in Path(place).iterdir()),
            "times": [os.stat(place).st_mtime_ns for place in ("/workspace/scratch", "/tmp", "/dev/shm")],
            "descriptors": sorted(os.listdir("/proc/self/fd")),
            "flags": [os.get_blocking(number) for number in (1, 2)],
            "environment": sorted(os.environ),
            "folder": os.getcwd(),
            "mask": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "niceness": os.nice(0),
            "objects": Path("/proc/sysvipc/shm").read_text().count("\n"),
            "table": len(TABLE.readline()) > 0,
        },
    }


def draw() -> dict[str, float]:
    return {"drawn": random.random(), "before": DRAWN}


def tries(what: str, value: int = 0) -> dict[str, Any]:
    """Do something that the others must not feel; its own answer counts."""
    more = WAYS[what]()
    return {"value": value, "told": more}


def files() -> None:
    for place in PLACES[:3]:
        Path(place, "deep/er").mkdir(parents=True)
        Path(place, "deep/er/left").write_text("left")
    Path("/workspace/out/progress.jsonl").write_text('{"step": 1}\n')
    os.utime("/tmp", (1, 1))


def settings() -> None:
    os.environ[MARK] = "left"
    os.chdir("/tmp")
    os.umask(0o077)
    os.nice(5)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.set_blocking(1, False)
    COUNT.extend(range(100))
    sys.modules["json"] = None  # type: ignore[assignment]


def processes() -> None:
    """A process that outlives its call, in a session of its own, and writes for ever."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                os.write(1, b"I live\n")
                with open("/workspace/out/data.json", "w") as file:
                    file.write('{"value": -1, "told": "forged"}')
                threading.Event().wait(0.001)
        os._exit(0)
    threading.Event().wait(0.05)


def siblings_of_its_parent() -> int:
    """A process whose parent is that of the call itself."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = {"x86_64": 56, "aarch64": 220}
    made: int = libc.syscall(numbers[os.uname().machine], CLONE_PARENT | signal.SIGCHLD, None, None, None, None)
    if made == 0:
        while True:
            threading.Event().wait(0.01)
    return made


def signals() -> list[str]:
    said = []
    for target in (*range(2, os.getpid()), -1, 0 if os.getpgrp() != os.getpid() else -1):
        try:
            os.kill(target, signal.SIGTERM if target == 0 else signal.SIGKILL)
            said.append(str(target))
        except OSError:
            pass
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGSTOP):
        with contextlib.suppress(OSError):
            os.kill(1, number)
    return said


def memory_of_others() -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            for file in ("mem", "environ", "maps", "fd"):
                try:
                    os.close(os.open(f"/proc/{name}/{file}", os.O_RDONLY))
                    found.append(f"{name}/{file}")
                except OSError:
                    pass
    return found


def words() -> list[int]:
    """Say what our own code says, into every descriptor but the output."""
    written = []
    for number in range(3, 1024):
        for word in (b"over", b"call", b"none", b"C", b"\0"):
            try:
                os.write(number, word)
                written.append(number)
            except OSError:
                pass
    return written


def inputs_of_the_next() -> list[str]:
    done = []
    for place in ("/workspace/in/data.json", "/mnt/in/data.json"):
        try:
            open(place, "w").close()
            done.append(place)
        except OSError:
            pass
    return done


def object_of_the_kernel() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.shmget(4711, 4096, 0o1666) < 0:
        raise OSError(ctypes.get_errno(), "shmget")


def network() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())


def output() -> None:
    Path("/workspace/out/files/kept.txt").write_text("kept")


def large() -> str:
    return "x" * 100_000


def crash() -> None:
    ctypes.string_at(0)


def memory() -> int:
    return len(bytearray(os.urandom(1)) * (600 << 20))


def sleep() -> None:
    threading.Event().wait(60)


def ignores_a_stop() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        threading.Event().wait(1)


def raises() -> None:
    raise ValueError("no\N{SNOWMAN}")


def exits() -> None:
    os._exit(3)


def floods() -> None:
    for _ in range(50):
        print("x" * 1000)


WAYS: dict[str, Callable[[], Any]] = {
    way.__name__: way
    for way in (
        files, settings, processes, siblings_of_its_parent, signals, memory_of_others, words, inputs_of_the_next,
        object_of_the_kernel, network, output, large, crash, memory, sleep, ignores_a_stop, raises, exits, floods,
    )
}  # fmt: skip
