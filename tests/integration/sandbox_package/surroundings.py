"""What a handler finds when it looks around in its sandbox."""

import ctypes
import os
import socket
import stat
from pathlib import Path
from typing import Any


def looks_around() -> dict[str, Any]:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {
        "result": {
            "uid": os.getuid(),
            "capabilities": status["CapEff"],
            "no_new_privs": status["NoNewPrivs"],
            "seccomp": status["Seccomp"],
            "interfaces": sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else ["lo"],
            "processes": sorted(
                int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in {1, os.getpid()}
            ),
            "readable": [
                path
                for path in (
                    "/etc/shadow",
                    os.path.join("/root", ".bashrc"),
                    "/home",
                    "/var",
                    "/proc/1/mem",
                    "/proc/1/environ",
                    "/sys",
                )
                if _can_read(path)
            ],
            "writable": [
                path
                for path in ("/", "/usr/lib", "/package", "/workspace", "/workspace/in", "/etc", "/dev", "/mecapy")
                if _can_write(path)
            ],
            "syscalls_let_through": _syscalls(),
            "connects": _connects(),
        }
    }


def _can_read(path: str) -> bool:
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return bool(os.listdir(path))
        return len(Path(path).open("rb").read(10)) > 0
    except OSError:
        return False


def _can_write(path: str) -> bool:
    try:
        Path(path, "planted").touch()
    except OSError:
        return False
    return True


def _syscalls() -> list[str]:
    """Each of these must answer an error."""
    libc = ctypes.CDLL(None, use_errno=True)
    tries = {
        "unshare_user": (272, 0x10000000),
        "unshare_mount": (272, 0x00020000),
        "clone_user": (56, 0x10000000 | 17, 0, 0, 0, 0),
        "io_uring_setup": (425, 1, 0),
        "bpf": (321, 0, 0, 0),
        "ptrace": (101, 0, 0, 0, 0),
        "keyctl": (250, 0, 0, 0, 0),
        "userfaultfd": (323, 0),
        "perf_event_open": (298, 0, 0, -1, -1, 0),
        "mount": (165, 0, 0, 0, 0, 0),
        "vsock": (41, 40, 1, 0),
        "alg": (41, 38, 5, 0),
        "netlink": (41, 16, 3, 0),
        "packet": (41, 17, 3, 0),
    }
    through = []
    for name, (number, *arguments) in tries.items() if os.uname().machine == "x86_64" else ():
        if libc.syscall(number, *arguments) >= 0:
            through.append(name)
    return through


def _connects() -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("198.51.100.1", 80)) == 0
