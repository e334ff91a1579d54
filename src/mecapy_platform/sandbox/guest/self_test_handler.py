"""A handler that tries, inside a real sandbox, what no tenant may be able to do.

The worker's self-test runs it at start.
"""

import ctypes
import os
import socket
import sys

CLOSED = (
    "/etc/shadow",
    "/root",
    "/home",
    "/var",
    "/opt",
    "/boot",
    "/proc/1/mem",
    "/proc/1/environ",
    "/proc/1/root",
    "/sys/kernel",
)
READ_ONLY = ("/", "/usr/lib", "/package", "/workspace", "/workspace/in", "/etc", "/dev", "/mecapy", "/proc/sys/kernel")
NEW_USER, NEW_MOUNTS, NEW_NET = 0x10000000, 0x00020000, 0x40000000
FAMILIES = {"AF_VSOCK": 40, "AF_ALG": 38, "AF_PACKET": 17, "AF_NETLINK": 16}


def look() -> dict[str, object]:
    """Give what was seen; the worker judges."""
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {
        "uid": os.getuid(),
        "status": {name: status.get(name, "?") for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")},
        "processes": sorted(
            int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in {1, os.getpid()}
        ),
        "interfaces": [line.split(":")[0].strip() for line in _lines("/proc/net/dev")[2:]],
        "routes": _lines("/proc/net/route")[1:],
        "connects": _connects(),
        "readable": [path for path in CLOSED if _can_read(path)],
        "writable": [path for path in READ_ONLY if _can_write(path)],
        "namespaces": _namespaces(),
        "families": [name for name, family in FAMILIES.items() if _can_open(family)],
        "written_mb": _fill(),
        "files": _make_files(),
        "forks": _fork_many(),
    }


def take_memory(megabytes: int) -> int:
    return len([bytearray(b"x" * (1 << 20)) for _ in range(megabytes)])


def _lines(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().splitlines()


def _can_write(path: str) -> bool:
    try:
        os.close(os.open(f"{path}/planted", os.O_CREAT | os.O_WRONLY))
    except OSError:
        return False
    return True


def _can_open(family: int) -> bool:
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


def _can_read(path: str) -> bool:
    try:
        if os.path.isdir(path):
            return any(not _leads_to_interpreter(f"{path}/{name}") for name in os.listdir(path))
        with open(path, "rb") as file:
            return bool(file.read(1))
    except OSError:
        return False


def _leads_to_interpreter(path: str) -> bool:
    """The interpreter stays at its own path, so the folders above it exist, and hold nothing else."""
    shown = (os.path.realpath(sys.executable), f"{sys.base_prefix}/lib")
    if not any(item == path or item.startswith(f"{path}/") for item in shown):
        return False
    return (
        path in shown
        or os.path.islink(path)
        or all(_leads_to_interpreter(f"{path}/{name}") for name in os.listdir(path))
    )


def _connects() -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("198.51.100.1", 80)) == 0


def _namespaces() -> list[str]:
    libc = ctypes.CDLL(None, use_errno=True)
    kinds = {"user": NEW_USER, "mount": NEW_MOUNTS, "net": NEW_NET}
    return [name for name, flag in kinds.items() if libc.unshare(flag) == 0]


def _fill() -> int:
    """How many MiB fit in the writable places together."""
    written = 0
    try:
        with open("/workspace/scratch/fill", "wb", buffering=0) as file:
            while written < 256:
                file.write(b"\0" * (1 << 20))
                written += 1
    except OSError:
        pass
    os.unlink("/workspace/scratch/fill")
    return written


def _make_files() -> int:
    made = []
    try:
        for number in range(2000):
            os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))  # noqa: S108 - inside the sandbox
            made.append(number)
    except OSError:
        pass
    for number in made:
        os.unlink(f"/tmp/{number}")  # noqa: S108 - inside the sandbox
    return len(made)


def _fork_many() -> int:
    children = []
    try:
        for _ in range(200):
            pid = os.fork()
            if pid == 0:
                socket.socketpair()[0].recv(1)
                os._exit(0)
            children.append(pid)
    except OSError:
        pass
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return len(children)
