"""Attacks by descriptors: what was inherited, what lies behind stdout, the control and status ends of init."""

import contextlib
import fcntl
import os
import stat

from report import Report


def inherits_nothing(report: Report) -> None:
    own = set(report.world.get("own_descriptors", ()))
    for number in range(3, 4096):
        with contextlib.suppress(OSError):
            seen = os.fstat(number)
            target = os.readlink(f"/proc/self/fd/{number}")
            is_own_pipe = stat.S_ISFIFO(seen.st_mode) and report.world.get("kind") == "batch"
            report.holds(f"descriptor {number}", number in own or is_own_pipe, target)
    report.note("descriptors 3 to 4095", "looked at")


def standard_streams(report: Report) -> None:
    report.holds("stdin", os.readlink("/proc/self/fd/0") == "/dev/null", os.readlink("/proc/self/fd/0"))
    for number in (1, 2):
        mode = os.fstat(number).st_mode
        report.holds(f"stream {number}", stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode), oct(mode))
        report.holds(
            f"stream {number} writes alone",
            fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE in {os.O_WRONLY, os.O_RDWR},
            "flags",
        )


def control_of_init(report: Report) -> None:
    for number in (0, 3, 4, 5, 6, 7):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            report.refused(f"/proc/1/fd/{number}", os.open, f"/proc/1/fd/{number}", flags | os.O_NONBLOCK)


def writes_to_where_status_was(report: Report) -> None:
    """The numbers that init uses: in the user's process they are closed."""
    for number in (3, 4, 5):
        is_own = report.world.get("kind") == "batch" and _is_pipe(number)
        if not is_own:
            report.refused(f"write to {number}", os.write, number, b"exit 0")


def _is_pipe(number: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False


def closes_everything(report: Report) -> None:
    """Its streams are its own to close: the result still comes."""
    report.note("closerange(0, 65536)", "done")
    os.closerange(0, 65536)


def floods_its_own_streams(report: Report) -> None:
    """A reader that is slow or gone must not be needed: sizes of pipes are bounded."""
    for number in (1, 2):
        with contextlib.suppress(OSError):
            fcntl.fcntl(number, fcntl.F_SETPIPE_SZ, 1 << 24)
            report.note(f"pipe of {number} made larger than its limit", "answered", escaped=True)
    report.note("F_SETPIPE_SZ", "EPERM")
