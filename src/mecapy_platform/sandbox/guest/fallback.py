"""The steps of csource/confine.c in Python, for machines on which it was not built.

The same order and the same locks, slower.
"""

from __future__ import annotations

import ctypes
import os
import signal

from _mecapy_guest import confine

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from typing import NoReturn

    from _mecapy_guest.confine import FileRules

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x02000000,
    0x08000000,
    0x20000000,
    0x40000000,
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 0x1, 0x2, 0x4, 0x8, 0x20, 0x1000
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 22, 24, 38, 47
CAP_SETPCAP, CAP_NET_ADMIN, CAP_SYS_ADMIN = 8, 12, 21
SECCOMP_MODE_FILTER = 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
CAPABILITY_VERSION = 0x20080522
AT_FIRST = (
    b"size=8m,nr_inodes=128,mode=0755"  # holds the largest inputs that come warm; each call has its own size later
)
FOLDERS = ("in", "in/files", "out", "out/files", "out/artifacts", "scratch", "tmp", "shm")
SHOWN = (("out", "/workspace/out"), ("scratch", "/workspace/scratch"), ("tmp", "/tmp"), ("shm", "/dev/shm"))  # noqa: S108 - inside
COUNTERS = ("/proc/self/net/dev", "/proc/self/net/snmp", "/proc/self/net/snmp6")
COVERS = "/etc/covers"  # what is read instead of counters of the whole machine

_libc = ctypes.CDLL(None, use_errno=True)


class _Network:
    """Of this slot: what its counters said when it was new."""

    untouched = 0


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def become_stem() -> None:
    """See native.become_stem."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    fresh_network()
    _prctl(PR_CAP_AMBIENT, 4)
    _keep_capabilities(1 << CAP_SYS_ADMIN | 1 << CAP_SETPCAP | 1 << CAP_NET_ADMIN)


def fresh_network() -> None:
    """A network of its own with its loopback up."""
    import fcntl
    import socket
    import struct

    _call("unshare", _libc.unshare(CLONE_NEWNET))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", answer)[1] | IFF_UP
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags))
    _Network.untouched = _counters()


def renew_used_network() -> None:
    """In the stem, between two calls: see csource/network.c."""
    if _counters() != _Network.untouched:
        fresh_network()


def _counters() -> int:
    found = 0
    for name in COUNTERS:
        try:
            with open(name) as file:
                found = hash((found, file.read()))
        except FileNotFoundError:
            continue  # a kernel without IPv6 counts nothing of it
    return found


def begin() -> tuple[int, int]:
    """Make a PID namespace with its first process: (pid, pidfd). What is forked next is in it too."""
    _call("unshare", _libc.unshare(CLONE_NEWPID))
    pid = os.fork()
    if pid == 0:
        _be_the_first_process()
    return pid, os.pidfd_open(pid)


def return_to(pid_namespace: int) -> None:
    """Later children are made in this PID namespace again."""
    _call("setns", _libc.setns(pid_namespace, CLONE_NEWPID))


def enter() -> int:
    """Mounts, message queues and a small workspace of one call. Gives a descriptor of the workspace's top."""
    os.umask(0o022)
    _call("unshare", _libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWCGROUP))
    _mount(b"tmpfs", b"/mnt", b"tmpfs", MS_NOSUID | MS_NODEV, AT_FIRST)
    for folder in FOLDERS:
        os.mkdir(f"/mnt/{folder}", 0o755)
    for name, place in SHOWN:
        _mount(f"/mnt/{name}".encode(), place.encode(), None, MS_BIND)
    _mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for name in os.listdir(COVERS):
        _mount(f"{COVERS}/{name}".encode(), f"/proc/{name}".encode(), None, MS_BIND)
    return os.open("/mnt", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def seal(options: bytes, package: bytes, rules: FileRules, program: bytes, first_closed: int) -> None:
    """See native.seal."""
    _mount(None, b"/mnt", None, MS_REMOUNT | MS_NOSUID | MS_NODEV, options)
    _mount(package, b"/package", None, MS_BIND)
    kept = os.statvfs("/package").f_flag & MS_NOEXEC  # of the host's mount: it cannot be taken off
    _mount(None, b"/package", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | kept)
    _call("umount", _libc.umount2(b"/packages", MNT_DETACH))
    _mount(b"/mnt/in", b"/workspace/in", None, MS_BIND)
    _mount(None, b"/workspace/in", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    _call("umount", _libc.umount2(b"/mnt", MNT_DETACH))
    os.chdir("/workspace/scratch")
    if rules[0] and not confine.restrict():
        raise OSError("landlock: the kernel has it, but it could not be set")
    for capability in (CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SETPCAP):  # the last one allows the others
        _prctl(PR_CAPBSET_DROP, capability)
    _keep_capabilities(0)
    os.closerange(first_closed, 4096)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    wanted = _Program(len(program) // 8, program)
    _call("seccomp", _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0))


def _be_the_first_process() -> NoReturn:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.closerange(0, 4096)
    while True:
        if signal.sigwaitinfo({signal.SIGCHLD, signal.SIGTERM}).si_signo == signal.SIGTERM:
            try:
                os.kill(-1, signal.SIGTERM)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0] > 0:
                pass
        except ChildProcessError:
            pass


def _keep_capabilities(kept: int) -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)
    _call("capset", _libc.syscall(126 if os.uname().machine == "x86_64" else 91, header, data))


def _mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, options: bytes | None = None) -> None:
    _call(f"mount {target.decode()}", _libc.mount(source, target, kind, ctypes.c_ulong(flags), options))


def _prctl(option: int, value: int) -> None:
    _call("prctl", _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _call(step: str, answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{step}: {os.strerror(number)}")
