"""Attacks on other processes: seeing, signalling, tracing, reading, renicing; becoming another user."""

import contextlib
import ctypes
import os
import resource
import signal
import sys

from calls import call, libc
from report import Report, pause


def sees_only_its_own(report: Report) -> None:
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    family = {1, os.getpid()}
    pid = os.getppid()
    while pid > 1:
        family.add(pid)
        with open(f"/proc/{pid}/stat") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
    report.holds("processes in /proc", set(pids) <= family, pids)


def pids_of_the_host(report: Report) -> None:
    for pid in report.world["pids"]:
        report.refused(f"kill({pid}, 0)", os.kill, pid, 0)
        report.refused(f"/proc/{pid}", os.listdir, f"/proc/{pid}")
        report.refused(f"pidfd_open({pid})", call, "pidfd_open", pid, 0)
        report.refused(f"prlimit({pid})", resource.prlimit, pid, resource.RLIMIT_NOFILE)
        report.refused(f"sched_setaffinity({pid})", os.sched_setaffinity, pid, {0})
        report.refused(f"getsid({pid})", os.getsid, pid)


def signals_to_init(report: Report) -> None:
    for number in (0, signal.SIGCHLD, signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
        report.refused(f"kill(1, {int(number)})", os.kill, 1, number)


def signals_to_init_by_descriptor(report: Report) -> None:
    try:
        descriptor = call("pidfd_open", 1, 0)
    except OSError as error:
        report.note("pidfd_open(1)", str(error))
        return
    for number in (signal.SIGSTOP, signal.SIGKILL):
        report.refused(
            f"pidfd_send_signal(init, {int(number)})", call, "pidfd_send_signal", descriptor, int(number), 0, 0
        )
    report.refused("pidfd_getfd(init, 3)", call, "pidfd_getfd", descriptor, 3, 0)
    report.refused("pidfd_getfd(init, 4)", call, "pidfd_getfd", descriptor, 4, 0)


def traces(report: Report) -> None:
    for name, request, pid in (
        ("TRACEME", 0, 0),
        ("ATTACH", 16, 1),
        ("SEIZE", 0x4206, 1),
        ("ATTACH parent", 16, os.getppid()),
    ):
        report.refused(f"ptrace({name})", call, "ptrace", request, pid, 0, 0)


def reads_memory_of_others(report: Report) -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
    for pid in (1, os.getppid()):
        report.refused(f"process_vm_readv({pid})", call, "process_vm_readv", pid, vector, 1, vector, 1, 0)
        report.refused(f"process_vm_writev({pid})", call, "process_vm_writev", pid, vector, 1, vector, 1, 0)
        report.refused(f"kcmp({pid})", call, "kcmp", pid, os.getpid(), 0, 0, 0)
        report.refused(f"process_madvise({pid})", call, "process_madvise", pid, vector, 1, 21, 0)


def raises_priority(report: Report) -> None:
    report.refused("nice(-5)", os.nice, -5)
    report.refused("SCHED_FIFO", os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(10))
    report.refused("SCHED_RR", os.sched_setscheduler, 0, os.SCHED_RR, os.sched_param(1))
    report.refused("oom_score_adj -1000", _write, "/proc/self/oom_score_adj", "-1000")
    number = 251 if os.uname().machine == "x86_64" else 30
    if libc.syscall(number, 1, 0, (1 << 13) | 0) == 0:
        report.note("ioprio_set(RT)", "answered", escaped=True)
    else:
        report.note("ioprio_set(RT)", "EPERM")


def raises_limits(report: Report) -> None:
    for name in ("NPROC", "NOFILE", "FSIZE", "CORE", "MEMLOCK", "MSGQUEUE", "SIGPENDING", "RTPRIO", "NICE"):
        kind = getattr(resource, f"RLIMIT_{name}")
        _soft, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY:
            report.holds(f"RLIMIT_{name}", name in {"NICE", "RTPRIO"}, "has no limit")
            continue
        report.refused(f"RLIMIT_{name} above {hard}", resource.setrlimit, kind, (hard + 1, hard + 1))


def becomes_another_user(report: Report) -> None:
    report.holds("uid", os.getuid() != 0 and os.geteuid() != 0, os.getuid())
    for uid in (0, 65534, 210_000, 210_001):
        report.refused(f"setuid({uid})", os.setuid, uid)
        report.refused(f"setresgid({uid})", os.setresgid, uid, uid, uid)
    report.refused("setgroups", os.setgroups, [0])
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        report.holds(name, int(status[name], 16) == 0, status[name])
    report.holds("NoNewPrivs", status["NoNewPrivs"] == "1", status["NoNewPrivs"])
    report.holds("Seccomp", status["Seccomp"] == "2", status["Seccomp"])
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    report.holds("capset(all)", libc.capset(header, data) != 0, "EPERM")
    report.holds("ambient capability", libc.prctl(47, 2, 21, 0, 0) != 0, "EPERM")


def set_user_id_programs(report: Report) -> None:
    """No program gains by the bit: no new privileges are given, and where the user writes no mount honours it."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    honoured = [words[4] for words in lines if "nosuid" not in words[5].split(",")]
    report.holds("mounts without nosuid", not honoured or libc.prctl(39, 0, 0, 0, 0) == 1, honoured or "none")
    path = "/tmp/becomes"
    with open(path, "w") as file:
        file.write("#!/bin/sh\n")
    os.chmod(path, 0o6755)
    report.holds("set-user-id file", os.statvfs(path).f_flag & os.ST_NOSUID != 0, oct(os.stat(path).st_mode))
    os.unlink(path)


def kills_everything_it_can(report: Report) -> None:
    """`kill(-1)` ends the user's own processes; the task goes on and reports."""
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            pause(30)
            os._exit(0)
        pids.append(pid)
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGKILL)
    ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    report.holds("kill(-1, SIGKILL)", ended == [-9] * 3, "its own children alone")


def kills_its_group(report: Report) -> None:
    """Its process group must not reach init, or the end would be lost."""
    report.note("kill(0, SIGKILL)", "sent")
    os.kill(0, signal.SIGKILL)


def _write(path: str, text: str) -> int:
    with open(path, "w") as file:
        return file.write(text)


def command_lines_tell_nothing(report: Report) -> None:
    """What the first process was started with would say what else is run here, and by which rules."""
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        report.holds(f"command line of {pid}", words in {"", "mecapy"}, words or "empty")
    report.holds("sys.orig_argv", not any("{" in word for word in sys.orig_argv), sys.orig_argv)
