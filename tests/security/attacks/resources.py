"""Attacks on shared resources: each has a limit, and what passes it is refused or ends the task, nobody else's."""

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import select
import socket
import sys
import threading
import time
from pathlib import Path

from calls import IS_X86, call, libc
from report import Report, name_of, pause

MIB = 1 << 20


def _hold(report: Report, mebibytes: int) -> None:
    report.note(f"{mebibytes} MiB", "asked for")
    held = []
    for _ in range(mebibytes):
        held.append(bytearray(b"x" * MIB))
    report.note(f"{len(held)} MiB", "held", escaped=True)


def memory(report: Report) -> None:
    _hold(report, report.world.get("hold_mb", 1024))


def memory_of_children(report: Report) -> None:
    """Together above the limit, each below it; killed children are not respawned for ever: the task ends."""
    report.note("eight children of 100 MiB", "asked for")
    for _ in range(8):
        if os.fork() == 0:
            held = bytearray(b"x" * (100 * MIB))
            pause(20)
            os._exit(len(held) & 1)
    pause(20)
    report.note("eight children of 100 MiB", "held", escaped=True)


def memory_as_files(report: Report) -> None:
    report.note("files of 1 GiB", "asked for")
    for folder in ("/tmp", "/workspace/scratch", "/workspace/out", "/dev/shm"):
        try:
            with open(f"{folder}/large", "wb", buffering=0) as file:
                file.writelines(b"x" * MIB for _ in range(256))
        except OSError as error:
            report.note(folder, name_of(error))
            raise
    report.note("files of 1 GiB", "held", escaped=True)


def memory_as_memfd(report: Report) -> None:
    report.note("a memory file of 1 GiB", "asked for")
    file = os.memfd_create("large")
    for _ in range(1024):
        os.write(file, b"x" * MIB)
    report.note("a memory file of 1 GiB", "held", escaped=True)


def memory_as_shared_segments(report: Report) -> None:
    report.note("System V segments of 1 GiB", "asked for")
    libc.shmat.restype = ctypes.c_void_p
    for _ in range(64):
        try:
            segment = call("shmget", 0, 16 * MIB, 0o1600)
        except OSError as error:
            report.note("shmget", name_of(error))
            return
        address = libc.shmat(segment, None, 0)
        if address in {None, ctypes.c_void_p(-1).value}:
            report.note("shmat", "refused")
            return
        ctypes.memset(address, 1, 16 * MIB)
    report.note("System V segments of 1 GiB", "held", escaped=True)


def memory_as_pipes(report: Report) -> None:
    """Buffers of the kernel count too, or are bounded by the number of descriptors."""
    report.note("pipes full of bytes", "asked for")
    held = 0
    with contextlib.suppress(OSError):
        while True:
            _read, write = os.pipe2(os.O_NONBLOCK)
            with contextlib.suppress(OSError):
                fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, MIB)
            with contextlib.suppress(BlockingIOError):
                while True:
                    held += os.write(write, b"x" * 65536)
    report.holds("pipes full of bytes", held < 128 * MIB, f"{held // MIB} MiB")


def memory_as_sockets(report: Report) -> None:
    report.note("sockets full of bytes", "asked for")
    held = 0
    with contextlib.suppress(OSError):
        while True:
            one, other = socket.socketpair()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
            one.setblocking(False)
            one.detach(), other.detach()
            with contextlib.suppress(BlockingIOError):
                while True:
                    held += os.write(one.fileno() if one.fileno() >= 0 else _last(), b"x" * 65536)
    report.holds("sockets full of bytes", held < 256 * MIB, f"{held // MIB} MiB")


def _last() -> int:
    return max(int(name) for name in os.listdir("/proc/self/fd")) - 2


def locked_memory(report: Report) -> None:
    page = mmap.mmap(-1, MIB)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(MIB)) == 0:
        report.note("mlock 1 MiB", "locked", escaped=True)
    else:
        report.note("mlock 1 MiB", name_of(OSError(ctypes.get_errno(), "")))
    report.refused("mlockall", call, "mlockall", 3)
    report.refused("huge pages", mmap.mmap, -1, 2 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)


def message_queues(report: Report) -> None:
    report.refused("mq_open", call, "mq_open", b"mine", os.O_CREAT | os.O_RDWR, 0o600, 0)


def forks_until_refused(report: Report) -> None:
    children = 0
    try:
        for _ in range(2000):
            pid = os.fork()
            if pid == 0:
                pause(30)
                os._exit(0)
            children += 1
    except OSError as error:
        report.note(f"fork after {children}", name_of(error))
    report.holds("processes", children <= 400, children)
    raise RuntimeError("no more processes")


def threads_until_refused(report: Report) -> None:
    threading.stack_size(32768)
    wait, made = threading.Event(), 0
    try:
        for _ in range(2000):
            threading.Thread(target=wait.wait, args=(30,), daemon=True).start()
            made += 1
    except RuntimeError as error:
        report.note(f"thread after {made}", str(error))
    report.holds("threads", made <= 400, made)


def zombies(report: Report) -> None:
    made = 0
    with contextlib.suppress(OSError):
        for _ in range(2000):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # else those that still run fill the memory first
            made += 1
    report.holds("unreaped children", made <= 400, made)
    if report.world["kind"] != "batch":
        raise RuntimeError("no more processes")


def fork_bomb(report: Report) -> None:
    """Grows and respawns until the time is over; survivors die with it."""
    report.note("a fork bomb", "lit")
    os.set_inheritable(1, True)
    while True:
        with contextlib.suppress(OSError):
            os.fork()


def open_files(report: Report) -> None:
    held = []
    try:
        for _ in range(100_000):
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        report.note(f"open after {len(held)}", name_of(error))
    report.holds("open files", len(held) <= 1024, len(held))
    for item in held:
        os.close(item)


def bytes_on_disk(report: Report) -> None:
    report.note("2 GiB in each writable place", "asked for")
    written = 0
    for folder in ("/tmp", "/workspace/scratch", "/workspace/out", "/dev/shm"):
        with contextlib.suppress(OSError), open(f"{folder}/fill", "wb", buffering=0) as file:
            for _ in range(report.world.get("fill_mb", 2048)):
                written += file.write(b"x" * MIB)
    if report.world["kind"] == "batch":
        _empty(("/tmp", "/workspace/scratch", "/dev/shm"), Path("/workspace/out/fill"))
    report.holds("bytes in all writable places", written <= report.world["disk_mb"] * MIB, f"{written // MIB} MiB")


def inodes(report: Report) -> None:
    made = 0
    for folder in ("/tmp", "/workspace/scratch", "/dev/shm"):
        try:
            for number in range(50_000):
                os.mkdir(f"{folder}/{number}")
                made += 1
        except OSError as error:
            report.note(f"{folder} after {made}", name_of(error))
    report.holds("files in all writable places", made <= report.world.get("disk_files", 20_000) + 10, made)
    if report.world["kind"] == "batch":
        _empty(("/tmp", "/workspace/scratch", "/dev/shm"))
    else:
        raise RuntimeError("no more files")


def _empty(folders: tuple[str, ...], *files: Path) -> None:
    """For the cases that follow in the same task."""
    for folder in folders:
        for entry in Path(folder).iterdir():
            entry.rmdir() if entry.is_dir() else entry.unlink()
    for file in files:
        file.unlink(missing_ok=True)


def log_flood(report: Report) -> None:
    report.note("output for ever", "begun")
    line = b"x" * 65535 + b"\n"
    while True:
        os.write(1, line)


def log_of_many_small_lines(report: Report) -> None:
    report.note("a million lines", "begun")
    sys.stdout.flush()
    raw = b"\n".join(b"%d" % number for number in range(10_000)) + b"\n"
    for _ in range(400):
        os.write(2, raw)


def file_above_its_size(report: Report) -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open("/tmp/long", "wb", buffering=0) as file:
        report.refused(f"a file above {hard} bytes", file.truncate, hard + 1)


def processor_time(report: Report) -> None:
    """Four at once on a limit of one: together they get one."""
    end = time.monotonic() + 2.0
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            while time.monotonic() < end:
                pass
            os._exit(0)
        pids.append(pid)
    used = 0.0
    for pid in pids:
        _pid, _status, usage = os.wait4(pid, 0)
        used += usage.ru_utime + usage.ru_stime
    report.holds("processor seconds in 2 s", used <= 2.0 * 1.35, f"{used:.2f}")


def timers(report: Report) -> None:
    event = ctypes.create_string_buffer(64)
    ctypes.c_int.from_buffer(event, 12).value = 1  # SIGEV_NONE
    made = 0
    with contextlib.suppress(OSError):
        for _ in range(200_000):
            call("timer_create", 1, event, ctypes.byref(ctypes.c_int()))
            made += 1
    report.holds("POSIX timers", made <= 4096, made)


def signals_queued(report: Report) -> None:
    number = 129 if IS_X86 else 138
    info = ctypes.create_string_buffer(128)
    ctypes.c_int.from_buffer(info, 8).value = -1
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, [34])
    made = 0
    for _ in range(200_000):
        if libc.syscall(number, os.getpid(), 34, info) != 0:
            break
        made += 1
    report.holds("queued signals", made <= 4096, made)


def watches_and_epolls(report: Report) -> None:
    held = []
    with contextlib.suppress(OSError):
        for _ in range(100_000):
            held.append(select.epoll())
    report.holds("epoll instances", len(held) <= 1024, len(held))


def swap_is_not_used(report: Report) -> None:
    with open("/proc/self/status") as file:
        swapped = [line for line in file if line.startswith("VmSwap")]
    report.holds("VmSwap", not swapped or swapped[0].split()[1] == "0", swapped)


def process_limit_is_not_shared(report: Report) -> None:
    """Whoever forks to the limit must not use up another task's: the count is of a user or a group of one's own."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    report.holds("a fork while another task is at its limit", os.waitpid(pid, 0)[1] == 0, "made")
