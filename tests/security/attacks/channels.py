"""Two sandboxes that run at once, of one function or of two companies: what one leaves, the other must not find."""

import contextlib
import ctypes
import fcntl
import os
import socket
import threading
import time
from typing import Any

from calls import call, libc
from report import Report, name_of, pause

KEY = 0x4D454341
PORT = 45_454
NAME = "mecapy-channel"
FOLDERS = ("/tmp", "/dev/shm", "/workspace/scratch", "/workspace/out", "/dev/mqueue", "/run", "/var/tmp", "/run/lock")
SHARED = ("/etc/passwd", "/package/entry.py")


def speaker(report: Report) -> None:
    """Leave a mark in every place for as long as `seconds` says."""
    held: list[Any] = [_listen(socket.AF_UNIX, f"\0{NAME}"), _listen(socket.AF_INET, ("127.0.0.1", PORT)), *_files()]
    for name, arguments in (("shmget", (KEY, 4096, 0o1666)), ("msgget", (KEY, 0o1666)), ("semget", (KEY, 1, 0o1666))):
        with contextlib.suppress(OSError):
            held.append(call(name, *arguments))
    with contextlib.suppress(OSError):
        call("mq_open", NAME.encode(), os.O_CREAT | os.O_RDWR, 0o666, 0)
    libc.prctl(15, NAME[:15].encode(), 0, 0, 0)
    report.note("marks", "left")
    pause(report.world["seconds"])
    del held


def _listen(family: int, address: Any) -> socket.socket | None:
    try:
        one = socket.socket(family)
        one.bind(address)
        one.listen()
    except OSError:
        return None
    return one


def _files() -> list[Any]:
    held = []
    for folder in FOLDERS:
        with contextlib.suppress(OSError):
            file = open(f"{folder}/{NAME}", "w")
            fcntl.flock(file, fcntl.LOCK_EX)
            held.append(file)
    return held


def listener(report: Report) -> None:
    """Look for the marks, again and again, while the speaker is there."""
    end = time.monotonic() + report.world["seconds"]
    found: dict[str, str] = {}
    looks = 0
    while time.monotonic() < end:
        for name, look in LOOKS.items():
            with contextlib.suppress(OSError):
                if answer := look():
                    found[name] = str(answer)
        looks += 1
        pause(0.05)
    for name, look in LOOKS.items():
        report.holds(name, name not in found, found.get(name) or _last_answer(look))
    report.holds("looks", looks > 5, looks)


def _last_answer(look: Any) -> str:
    try:
        look()
    except OSError as error:
        return name_of(error)
    return "nothing"


def _connects(family: int, address: Any) -> bool:
    with socket.socket(family) as one:
        one.settimeout(0.2)
        one.connect(address)
    return True


def _by_key(name: str, *arguments: int) -> bool:
    return call(name, KEY, *arguments) >= 0


def _named_files() -> list[str]:
    return [folder for folder in FOLDERS if os.path.exists(f"{folder}/{NAME}")]


def _named_processes() -> list[str]:
    found = []
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as file:
            if file.read().strip() == NAME[:15]:
                found.append(pid)
    return found


def _in_table(path: str, word: str) -> bool:
    with open(path) as file:
        return word in file.read()


LOOKS: dict[str, Any] = {
    "abstract socket": lambda: _connects(socket.AF_UNIX, f"\0{NAME}"),
    "port on loopback": lambda: _connects(socket.AF_INET, ("127.0.0.1", PORT)),
    "/proc/net/unix": lambda: _in_table("/proc/net/unix", NAME),
    "/proc/net/tcp": lambda: _in_table("/proc/net/tcp", f":{PORT:04X}"),
    "System V segment": lambda: _by_key("shmget", 0, 0),
    "System V messages": lambda: _by_key("msgget", 0),
    "System V semaphore": lambda: _by_key("semget", 0, 0),
    "/proc/sysvipc/shm": lambda: _in_table("/proc/sysvipc/shm", str(KEY)),
    "POSIX message queue": lambda: call("mq_open", NAME.encode(), os.O_RDONLY, 0, 0) >= 0,
    "files": _named_files,
    "processes": _named_processes,
    "/proc/locks": lambda: _in_table("/proc/locks", "FLOCK") or _in_table("/proc/locks", "POSIX"),
}


def reader_of_shared_files(report: Report) -> None:
    """Opens and reads what both sandboxes see, as every start of an interpreter does."""
    end = time.monotonic() + report.world["seconds"]
    while time.monotonic() < end:
        for path in (*SHARED, "/usr/lib/os-release"):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                file.read(100)
        os.listdir("/package")
        pause(0.02)
    report.note("shared files", "read again and again")


def watcher_of_shared_files(report: Report) -> None:
    """Is told, by no call, that somebody else reads them."""
    seconds = report.world["seconds"]
    try:
        watch = call("inotify_init1", os.O_NONBLOCK)
    except OSError as error:
        report.note("inotify_init1", name_of(error))
    else:
        for path in (*SHARED, "/usr/lib", "/package"):
            libc.inotify_add_watch(watch, path.encode(), 0xFFF)
        pause(seconds)
        with contextlib.suppress(BlockingIOError):
            report.note("inotify", f"told {len(os.read(watch, 65536))} bytes", escaped=True)
    told = threading.Event()
    import signal

    signal.signal(signal.SIGIO, lambda *_: told.set())
    for path in ("/package", "/usr/lib", "/etc"):
        folder = os.open(path, os.O_RDONLY)
        try:
            fcntl.fcntl(folder, 1026, 0x8000003F)
        except OSError as error:
            report.note(f"F_NOTIFY {path}", name_of(error))
    pause(min(1.0, seconds))
    report.holds("F_NOTIFY", not told.is_set(), "told nothing")
    before = [os.stat(path).st_atime_ns for path in SHARED]
    pause(0.3)
    report.holds("times of access", before == [os.stat(path).st_atime_ns for path in SHARED], "still")


def shared_page(report: Report) -> None:
    """A futex on a page of a shared file of one's own writable places must not be another's."""
    with open("/dev/shm/page", "w+b") as file:
        file.truncate(4096)
    libc.syscall(ctypes.c_long(202 if os.uname().machine == "x86_64" else 98), 0, 1, 1, 0, 0, 0)
    report.holds("/dev/shm holds its own alone", os.listdir("/dev/shm") == ["page"], os.listdir("/dev/shm"))
