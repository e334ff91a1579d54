"""Calls of a function whose process is reused: what each leaves, and what the next one finds."""

import io
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

KEPT: list[object] = []
CALLS: list[object] = []  # the module stays loaded: what a call keeps here, the next one finds
PLACES = ("/workspace/scratch", "/tmp", "/dev/shm", "/workspace/out/files", "/workspace/out/artifacts")
MARK = "REUSED_MARK"


def count(value: int = 0) -> dict[str, object]:
    CALLS.append(value)
    print(f"call {value}")
    return {"number": len(CALLS), "pid": os.getpid(), "space": os.stat("/proc/self/ns/pid").st_ino, "value": value}


def goes_on() -> None:
    """Says the word that ends a call, in place of our own code, and works on without one."""
    Path("/workspace/out/data.json").write_text('{"result": 1}')
    os.write(5, b"over")
    while True:
        pass


def leaves(what: str) -> dict[str, object]:
    CALLS.append(what)
    more = WAYS[what]() if what in WAYS else None
    told: dict[str, object] = {"number": len(CALLS), "pid": os.getpid()}
    return {**told, "text": more} if isinstance(more, str) else told


def files() -> None:
    for place in PLACES[:3]:
        Path(place, "deep/er").mkdir(parents=True)
        Path(place, "deep/er/file").write_text("left")


def settings() -> None:
    os.environ[MARK] = "left"
    os.chdir("/tmp")
    os.umask(0o077)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    signal.setitimer(signal.ITIMER_REAL, 300)
    sys.stdout = io.StringIO()


def descriptors() -> None:
    KEPT.append(socket.socket(socket.AF_UNIX))
    os.dup2(os.open("/etc/passwd", os.O_RDONLY), 40)


def error() -> None:
    raise ValueError("as asked")


def output() -> None:
    Path("/workspace/out/files/kept.txt").write_text("kept")


def thread() -> None:
    threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()


def process() -> None:
    if os.fork() == 0:
        threading.Event().wait(60)


def daemon() -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            threading.Event().wait(60)
        os._exit(0)
    os.wait()


def network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        ours.sendto(b"x", ours.getsockname())


WAYS: dict[str, Callable[[], object]] = {
    "files": files,
    "settings": settings,
    "descriptors": descriptors,
    "error": error,
    "exit": lambda: sys.exit(0),
    "output": output,
    "thread": thread,
    "process": process,
    "daemon": daemon,
    "network": network,
    "closed streams": lambda: os.close(1),
    "niceness": lambda: os.nice(3),
    "large result": lambda: "x" * 20_000,
}


def finds() -> dict[str, object]:
    CALLS.append("finds")
    handlers = [int(signal.getsignal(number) == signal.SIG_DFL) for number in (signal.SIGUSR1, signal.SIGTERM)]
    mask = os.umask(0o022)
    return {
        "number": len(CALLS),
        "left": [name for place in PLACES for name in os.listdir(place) if name != "list.json"],
        "mark": MARK in os.environ,
        "folder": os.getcwd(),
        "umask": mask,
        "handlers": handlers,
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timer": signal.getitimer(signal.ITIMER_REAL)[0],
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "processes": sorted(name for name in os.listdir("/proc") if name.isdigit()),
        "threads": len(os.listdir("/proc/self/task")),
        "inputs": Path("/workspace/in/data.json").read_text(),
    }


def takes_memory(megabytes: int) -> dict[str, object]:
    CALLS.append(megabytes)
    held = bytearray(megabytes << 20)
    return {"number": len(CALLS), "held": len(held)}


def works(seconds: float) -> dict[str, object]:
    CALLS.append(seconds)
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return {"number": len(CALLS), "pid": os.getpid()}
