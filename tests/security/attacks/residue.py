"""What the first of two tasks leaves in a process that may be kept warm, and the second must not find."""

import builtins
import contextlib
import decimal
import gc
import json
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from calls import call, libc
from report import Report, pause

MARK = "mecapy_left_by_another"
FIRST, SECOND = "told_by_an", "other_call"  # together they are in a task's result and names, and nowhere else
KEY = 0x4D454342
PORT = 45_455
CALLS: list[int] = []
FOLDERS = (
    "/tmp",
    "/dev/shm",
    "/workspace/scratch",
    "/workspace/out",
    "/workspace/out/files",
    "/workspace/out/artifacts",
)


def leave_everything(report: Report) -> None:
    """Change whatever a process can change."""
    for folder in FOLDERS:
        Path(folder, MARK).write_text("left")
    os.environ[MARK] = "left"
    setattr(builtins, MARK, "left")
    builtins.print = lambda *_a, **_k: None
    json.dumps = lambda *_a, **_k: "{}"
    sys.modules[MARK] = sys
    sys.path.insert(0, f"/tmp/{MARK}")
    sys.meta_path.insert(0, _Finder())
    sys.excepthook = lambda *_: None
    sys.setrecursionlimit(77_777)
    sys.addaudithook(lambda *_: None)
    sys.setswitchinterval(0.5)
    gc.disable()
    random.seed(4711)
    decimal.getcontext().prec = 3
    warnings.simplefilter("error")
    logging.getLogger().addHandler(logging.NullHandler())
    locale.setlocale(locale.LC_ALL, "C")
    os.umask(0o777)
    os.chdir("/tmp")
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
    signal.setitimer(signal.ITIMER_REAL, 300)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))
    os.nice(5)
    with contextlib.suppress(OSError):
        libc.prctl(15, b"left", 0, 0, 0)
        Path("/proc/self/oom_score_adj").write_text("999")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    _leave_kernel_objects()
    _leave_processes()
    report.note("everything a process can change", "changed")


class _Finder:
    def find_spec(self, *_: object) -> None:
        return None


def _leave_kernel_objects() -> None:
    for name, arguments in (("shmget", (KEY, 4096, 0o1666)), ("msgget", (KEY, 0o1666)), ("semget", (KEY, 1, 0o1666))):
        with contextlib.suppress(OSError):
            call(name, *arguments)
    one = socket.socket(socket.AF_UNIX)
    one.bind(f"\0{MARK}")
    one.listen()
    os.set_inheritable(one.detach(), True)
    os.dup2(os.open("/etc/passwd", os.O_RDONLY), 40)


def _leave_processes() -> None:
    for number in range(2):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                libc.prctl(15, MARK[:15].encode(), 0, 0, 0)
                while True:
                    pause(60)
            os._exit(0)
        del number
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def fill_memory(report: Report) -> None:
    """Leave a recognisable pattern in memory that is given back."""
    held = [bytearray(MARK.encode() * 60_000) for _ in range(20)]
    report.note("a pattern in 25 MiB", len(held).__str__())


def leave_what_is_put_back(report: Report) -> None:
    """What a process that serves further calls must have lost before the next."""
    for folder in FOLDERS[:3]:
        Path(folder, MARK).mkdir()
        Path(folder, MARK, MARK).write_text("left")
    os.environ[MARK] = "left"
    os.chdir("/tmp")
    os.umask(0o777)
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    signal.setitimer(signal.ITIMER_REAL, 300)
    one = socket.socket(socket.AF_UNIX)
    one.bind(f"\0{MARK}")
    one.listen()
    os.set_inheritable(one.detach(), True)
    os.dup2(os.open("/etc/passwd", os.O_RDONLY), 40)
    report.note("what is put back", "changed")


def what_was_put_back(report: Report) -> None:
    mask = os.umask(0o022)
    report.holds("umask", mask == 0o022, oct(mask))
    report.holds("working directory", os.getcwd() == "/workspace/scratch", os.getcwd())
    for number in (signal.SIGUSR1, signal.SIGTERM):
        report.holds(f"signal {int(number)}", signal.getsignal(number) is signal.SIG_DFL, signal.getsignal(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    report.holds("blocked signals", not blocked, blocked)
    report.holds("timer", signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), signal.getitimer(signal.ITIMER_REAL))
    report.refused("descriptor 40", os.fstat, 40)
    with socket.socket(socket.AF_UNIX) as one:
        report.refused("abstract socket", one.connect, f"\0{MARK}")
    environment_of_the_interpreter = [name for name in os.environ if MARK in name]
    report.holds("os.environ", not environment_of_the_interpreter, environment_of_the_interpreter or "not there")
    files(report)
    processes_and_threads(report)


def calls_of_this_process(report: Report) -> None:
    """Not an attack: how many there were."""
    CALLS.append(0)
    report.note("calls of this process", str(len(CALLS)))


def leave_a_result(report: Report) -> None:
    """A result that our own processes read, and names that they look through."""
    for folder in ("files", "artifacts"):
        for number in range(20):
            Path(f"/workspace/out/{folder}", f"{FIRST}{SECOND}-{number}").write_text("left")
    for number in range(30):
        report.note(f"result {number}", (FIRST + SECOND) * 12)


def result_and_names(report: Report) -> None:
    """Searched for by its halves, so that the search itself leaves no mark."""
    first, second = FIRST.encode(), SECOND.encode()
    found = sum(part.startswith(second) for content in _own_memory() for part in content.split(first)[1:])
    report.holds("result and names of another task", found == 0, f"{found} times")


def leave_sockets(report: Report) -> None:
    """A connection that waits for its time, datagrams, and what found no route."""
    with socket.create_server(("127.0.0.1", PORT)) as listener, socket.create_connection(("127.0.0.1", PORT)) as ours:
        theirs, _address = listener.accept()
        ours.sendall(b"x" * 1000)
        report.note("tcp", f"{len(theirs.recv(1000))} bytes through its own loopback")
        ours.close()
        theirs.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for address in (("127.0.0.1", PORT), ("198.51.100.1", 53)):
            with contextlib.suppress(OSError):
                one.sendto(b"x", address)


def sockets(report: Report) -> None:
    for name in ("tcp", "tcp6", "udp", "udp6"):
        with contextlib.suppress(FileNotFoundError):
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
            report.holds(f"/proc/net/{name}", not lines, lines or "empty")
    counted = _counters()
    for name in (
        "Tcp ActiveOpens",
        "Tcp InSegs",
        "Udp InDatagrams",
        "Udp OutDatagrams",
        "Ip OutNoRoutes",
        "Icmp InMsgs",
    ):
        report.holds(name, counted[name] == "0", counted[name])
    moved = [
        words
        for line in Path("/proc/net/dev").read_text().splitlines()[2:]
        if (words := line.split()) and words[0] == "lo:" and set(words[1:]) != {"0"}
    ]
    report.holds("packets of the loopback", not moved, moved or "none")


def _counters() -> dict[str, str]:
    """Of /proc/net/snmp: a line of names, then one of values."""
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines()]
    return {
        f"{names[0][:-1]} {name}": value
        for names, values in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(names[1:], values[1:], strict=True)
    }


def files(report: Report) -> None:
    for folder in FOLDERS:
        names = [name for name in os.listdir(folder) if MARK in name]
        report.holds(folder, not names, names or "nothing left")
    report.holds("/tmp is empty", not os.listdir("/tmp"), os.listdir("/tmp"))
    report.holds("/dev/shm is empty", not os.listdir("/dev/shm"), os.listdir("/dev/shm"))
    report.holds("scratch is empty", not os.listdir("/workspace/scratch"), os.listdir("/workspace/scratch"))


def processes_and_threads(report: Report) -> None:
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            report.holds(f"process {pid}", name not in {MARK[:15], "left"}, name)
    report.holds(
        "threads", threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1, threading.active_count()
    )


def environment(report: Report) -> None:
    report.holds("os.environ", MARK not in os.environ, "not there")
    report.holds("environ of the process", MARK.encode() not in Path("/proc/self/environ").read_bytes(), "not there")


def patched_modules(report: Report) -> None:
    report.holds(
        "builtins", not hasattr(builtins, MARK) and type(print).__name__ == "builtin_function_or_method", "whole"
    )
    report.holds("json", json.dumps([1]) == "[1]", "whole")
    report.holds("sys.modules", MARK not in sys.modules, "not there")
    report.holds("sys.path", not any(MARK in item for item in sys.path), sys.path)
    report.holds(
        "sys.meta_path", not any(type(item).__name__ == "_Finder" for item in sys.meta_path), len(sys.meta_path)
    )
    report.holds("sys.excepthook", sys.excepthook is sys.__excepthook__, "whole")


def settings_of_the_interpreter(report: Report) -> None:
    report.holds("recursion limit", sys.getrecursionlimit() == 1000, sys.getrecursionlimit())
    report.holds("switch interval", sys.getswitchinterval() == 0.005, sys.getswitchinterval())
    report.holds("gc", gc.isenabled(), gc.get_threshold())
    report.holds("decimal", decimal.getcontext().prec == 28, decimal.getcontext().prec)
    report.holds("warnings", ("error", None, Warning, None, 0) not in warnings.filters, len(warnings.filters))
    report.holds("logging", not logging.getLogger().handlers, logging.getLogger().handlers)


def settings_of_the_process(report: Report) -> None:
    mask = os.umask(0o022)
    report.holds("umask", mask == 0o022, oct(mask))
    report.holds("working directory", os.getcwd() == "/workspace/scratch", os.getcwd())
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2):
        report.holds(f"signal {int(number)}", signal.getsignal(number) is signal.SIG_DFL, signal.getsignal(number))
    report.holds(
        "blocked signals",
        not signal.pthread_sigmask(signal.SIG_BLOCK, []),
        signal.pthread_sigmask(signal.SIG_BLOCK, []),
    )
    report.holds("timer", signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), signal.getitimer(signal.ITIMER_REAL))
    report.holds(
        "open files", resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 256, resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    report.holds(
        "stack", resource.getrlimit(resource.RLIMIT_STACK)[0] != 1 << 20, resource.getrlimit(resource.RLIMIT_STACK)
    )
    report.holds("niceness", os.nice(0) == os.getpriority(os.PRIO_PROCESS, 1), os.nice(0))
    report.holds(
        "name", Path("/proc/self/comm").read_text().strip() != "left", Path("/proc/self/comm").read_text().strip()
    )
    report.holds("oom_score_adj", Path("/proc/self/oom_score_adj").read_text().strip() != "999", "not 999")
    report.holds("processors", len(os.sched_getaffinity(0)) == (os.cpu_count() or 1), os.sched_getaffinity(0))


def kernel_objects(report: Report) -> None:
    for name, arguments in (("shmget", (KEY, 0, 0)), ("msgget", (KEY, 0)), ("semget", (KEY, 0, 0))):
        report.refused(name, call, name, *arguments)
    with socket.socket(socket.AF_UNIX) as one:
        report.refused("abstract socket", one.connect, f"\0{MARK}")
    report.refused("descriptor 40", os.fstat, 40)
    ids = [
        line for name in ("shm", "msg", "sem") for line in Path(f"/proc/sysvipc/{name}").read_text().splitlines()[1:]
    ]
    report.holds("/proc/sysvipc", not ids, ids or "empty")


def memory(report: Report) -> None:
    """Fresh memory is zero, wherever it comes from."""
    pattern = MARK.encode() * 2
    found = sum(content.count(pattern) for content in _own_memory())
    report.holds("the pattern of another task in memory", found <= 1, f"{found} times, its own constant included")


def _own_memory() -> Iterator[bytes]:
    """What this process can write, piece by piece."""
    with open("/proc/self/maps") as file:
        ranges = [line.split()[:2] for line in file]
    with open("/proc/self/mem", "rb", buffering=0) as source:
        for span, mode in ranges:
            start, end = (int(item, 16) for item in span.split("-"))
            if mode.startswith("rw") and end - start < 64 << 20:
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    source.seek(start)
                    yield source.read(end - start) or b""


def random_state(report: Report) -> None:
    """Given back for the test to compare: two tasks must not draw the same numbers."""
    drawn = [random.getrandbits(64) for _ in range(2)]
    report.note("random numbers", json.dumps({"random": drawn, "hash": hash("mecapy"), "urandom": os.urandom(8).hex()}))
    report.holds("random.seed(4711)", drawn[0] != random.Random(4711).getrandbits(64), "another state")
