"""A sandbox with one layer taken out, for negative controls.

Runs as a script inside namespaces of the test: `python throw_away.py JSON`.

It builds the command of a real run by the spawner's own functions, removes a part, runs cases of the attack package in
what is left, and prints their reports. Whatever then escapes, escapes into the outer namespaces that the test has made
around this process.
"""

import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mecapy_platform.sandbox.bubblewrap.local_spawner import find_bwrap
from mecapy_platform.sandbox.root import folders
from mecapy_platform.sandbox.root.etc import USER_ID, write_etc
from mecapy_platform.sandbox.spawner import cgroups, command, system, workspace
from mecapy_platform.sandbox.spawner.config import Request, RunLimits
from mecapy_platform.sandbox.syscalls import bpf

ATTACKS = Path(__file__).parent / "attacks"
UID = 210_500
MIB = 1 << 20
LIMITS = RunLimits(
    cpu=1,
    memory_mb=128,
    timeout_seconds=30,
    grace_seconds=1,
    disk_bytes=16 * MIB,
    disk_files=2000,
    processes=64,
    open_files=256,
)
SPACES = ("user", "pid", "ipc", "net", "uts", "cgroup")
SECRET = "DATABASE_PASSWORD"
PORT = 46_464
ABSTRACT = "mecapy-throw-away"
HOST = "outer-host"
SEGMENT = 0x4D454342  # the key of attacks/residue.py
LEAKED_FD = 2000

Change = Callable[[list[str]], list[str]]


def without(*words: str) -> Change:
    """Take the option and its values out."""

    def change(argv: list[str]) -> list[str]:
        at = next(at for at in range(len(argv)) if tuple(argv[at : at + len(words)]) == words)
        return argv[:at] + argv[at + len(words) :]

    return change


def instead(old: tuple[str, ...], new: tuple[str, ...]) -> Change:
    def change(argv: list[str]) -> list[str]:
        at = next(at for at in range(len(argv)) if tuple(argv[at : at + len(old)]) == old)
        return [*argv[:at], *new, *argv[at + len(old) :]]

    return change


def sharing(space: str, *more: Change) -> Change:
    """All namespaces but one."""
    left = tuple(f"--unshare-{item}" for item in SPACES if item != space)
    return both(instead(("--unshare-all", "--unshare-user"), left), *more)


def both(*changes: Change) -> Change:
    def change(argv: list[str]) -> list[str]:
        for item in changes:
            argv = item(argv)
        return argv

    return change


def writable_package(argv: list[str]) -> list[str]:
    at = argv.index("/package")
    return [*argv[: at - 2], "--bind", *argv[at - 1 :]]


def uncovered(argv: list[str]) -> list[str]:
    kept, at = [], 0
    while at < len(argv):
        if argv[at] == "--ro-bind" and argv[at + 2].startswith("/proc/"):
            at += 3
        else:
            kept.append(argv[at])
            at += 1
    return kept


def shows(path: str) -> Change:
    return instead(("--remount-ro", "/"), ("--ro-bind", path, path, "--remount-ro", "/"))


SAME: Change = list
NO_FILTER = without("--seccomp", str(command.SECCOMP_FD))
COMMANDS: dict[str, Change] = {
    "system call filter": NO_FILTER,
    "system call filter and end of user namespaces": both(NO_FILTER, without("--disable-userns")),
    "PID namespace": sharing("pid", without("--as-pid-1")),
    "network namespace": sharing("net"),
    "IPC namespace": sharing("ipc"),
    "UTS namespace": sharing("uts", without("--hostname", "sandbox")),
    "cgroup namespace": sharing("cgroup"),
    "read-only root": without("--remount-ro", "/"),
    "read-only package": writable_package,
    "root of listed folders": shows("/var"),
    "devices of its own": instead(("--dev", "/dev"), ("--dev-bind", "/dev", "/dev")),
    "covers of /proc": uncovered,
    "no capabilities": instead(("--cap-drop", "ALL"), ("--cap-add", "ALL")),
    "not root inside": instead(("--uid", str(USER_ID)), ("--uid", "0")),
    "empty environment": without("--clearenv"),
}
NO_LANDLOCK = "\n\ndef restrict():\n    return False\n"
GUEST: dict[str, str] = {
    "Landlock": NO_LANDLOCK,
    "hidden init and Landlock": NO_LANDLOCK + "\n\ndef hide_from_children():\n    pass\n",
    "limit of message queues and Landlock": NO_LANDLOCK,
}


def main() -> None:
    order = json.loads(sys.argv[1])
    removed, folder = order["removed"], Path(order["folder"])
    prepare_outside()
    group = make_group(removed)
    request, places, top = make_request(order, folder, removed)
    argv = COMMANDS.get(removed, SAME)(command.bwrap_command(request, places[0], places[1]))
    status = run(argv, removed, group)
    data = Path(f"/proc/self/fd/{top}/out/data.json")
    reports = json.loads(json.loads(data.read_text())["reports"]) if data.exists() else {}
    json.dump({"reports": reports, "status": status}, sys.stdout)
    if group is not None:
        group.kill()  # without a PID namespace something may be left
        group.remove()
        for item in group.folders.values():
            Path(item).parent.rmdir()


def prepare_outside() -> None:
    """What a shared namespace would show: a host name, a listener, a named socket, a segment."""
    system.mount("none", "/", "", system.MS_REC | system.MS_PRIVATE)
    socket.sethostname(HOST)
    bring_up_loopback()
    kept = globals().setdefault("KEPT", [])
    kept.append(socket.create_server(("127.0.0.1", PORT)))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{ABSTRACT}")
    abstract.listen()
    kept.append(abstract)
    ctypes.CDLL(None).shmget(SEGMENT, 4096, 0o1666)
    if os.fork() == 0:  # somebody else's process
        system.die_with(os.getppid())
        signal.pause()


def bring_up_loopback() -> None:
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", 0x1))


def make_group(removed: str) -> cgroups.RunCgroup | None:
    base = cgroups.find_base(f"mecapy-throw-away-{Path('/proc/self/ns/mnt').stat().st_ino}")
    if base.version == 0:
        return None
    group = cgroups.RunCgroup(base, "one")
    processes = 4000 if removed == "process limit" else LIMITS.processes
    memory = 4096 * MIB if removed in {"memory limit", "disk limit"} else LIMITS.memory_mb * MIB
    group.limit(memory_bytes=memory, processes=processes, cpu=2)
    return group


def make_request(
    order: dict[str, Any], folder: Path, removed: str
) -> tuple[Request, tuple[command.Places, Callable[[str], str]], int]:
    (folder / "in" / "files").mkdir(parents=True)
    (folder / "in" / "data.json").write_text(json.dumps({"cases": order["cases"], "world": order["world"]}))
    shutil.copytree(ATTACKS, folder / "package", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "point").mkdir()
    write_etc(folder / "etc")
    guest = json.dumps(
        {"mode": "python", "handler": "entry:batch", "site": False, "files": {"required": [], "optional": []}}
    )
    limits = LIMITS
    if removed == "disk limit":
        limits = RunLimits(**{**vars(LIMITS), "disk_bytes": 512 * MIB, "disk_files": 200_000})
    request = Request(
        os.path.realpath(sys.executable), str(folder / "package"), str(folder / "in"), None, (), {}, guest, limits
    )
    place = workspace.Workspace(str(folder / "point"))
    top = place.make_files(limits, UID)
    changed = GUEST.get(removed)
    if changed is not None:
        shutil.copytree(folders.GUEST_FOLDER, folder / "guest", ignore=shutil.ignore_patterns("__pycache__"))
        with (folder / "guest" / "confine.py").open("a") as file:
            file.write(changed)

    def reach(path: str) -> str:
        return place.reach(str(folder / "guest") if changed is not None and path == str(folders.GUEST_FOLDER) else path)

    return (
        request,
        (command.Places(place.reach_program(str(find_bwrap())), place.files, str(folder / "etc")), reach),
        top,
    )


def run(argv: list[str], removed: str, group: cgroups.RunCgroup | None) -> int:
    control, _keep = os.pipe()
    status_read, status = os.pipe()
    filter_fd = bpf.filter_descriptor(bpf.PROGRAM)
    pid = os.fork()
    if pid == 0:
        try:
            if group is not None:
                group.join(os.getpid())
            become(argv, removed, (control, status, filter_fd))
        finally:
            os._exit(127)
    os.close(status)
    signal.alarm(60)
    _pid, code = os.waitpid(pid, 0)
    os.close(status_read)
    return os.waitstatus_to_exitcode(code)


def become(argv: list[str], removed: str, descriptors: tuple[int, int, int]) -> None:
    high = [os.dup2(item, 100 + index) for index, item in enumerate(descriptors)]
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    errors = os.dup2(2, 90)
    os.dup2(errors, 1)
    for index, item in enumerate(high, start=3):
        os.dup2(item, index)
    os.closerange(6, 4096)
    if removed == "closed descriptors":
        os.dup2(os.open("/", os.O_RDONLY), LEAKED_FD)
    limit(removed)
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    os.umask(0o022)
    os.execve(argv[0], argv, {SECRET: "of the platform"})


def limit(removed: str) -> None:
    values = {
        "NPROC": 4000 if removed == "process limit" else LIMITS.processes * 8,
        "NOFILE": 100_000 if removed == "limit of open files" else LIMITS.open_files,
        "CORE": 0,
        "MSGQUEUE": 819_200 if removed.startswith("limit of message queues") else 0,
        "MEMLOCK": 4 * MIB if removed == "limit of locked memory" else 65_536,
        "SIGPENDING": 100_000 if removed == "limit of queued signals" else 4096,
    }
    for name, value in values.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _soft, hard = resource.getrlimit(kind)
        limited = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limited, limited))


def made_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mecapy-throw-away-"))
    folder.chmod(0o755)
    return folder


if __name__ == "__main__":
    main()
