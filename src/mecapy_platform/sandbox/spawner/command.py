"""The bwrap command line of one run, built by a pure function: the whole confinement can be read here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.sandbox.root.etc import MEMORY_FILE, TELLING_FILES, TELLING_FOLDERS, USER_ID
from mecapy_platform.sandbox.root.folders import (
    GUEST_FOLDER,
    LIBRARY_FOLDERS,
    PYTHON_OPTIONS,
    TOP_LINKS,
    call_environment,
    children_mounts,
    interpreter_parts,
)
from mecapy_platform.sandbox.spawner.config import Request, WarmRequest

CONTROL_FD = 3  # read end: the guest's init is told to stop
STATUS_FD = 4  # write end: it reports the exit status
SECCOMP_FD = 5
ZYGOTE_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_SETPCAP", "CAP_NET_ADMIN")


@dataclass(frozen=True)
class Places:
    """Where the parts of one run lie outside: `files` is its sized tmpfs, `etc` our made /etc."""

    bwrap: str
    files: str
    etc: str


def bwrap_command(request: Request, places: Places, reach: Callable[[str], str]) -> list[str]:
    """Compose the command. `reach` turns a path of the host into one that the sandbox's user can open."""
    command = [
        places.bwrap,
        "--unshare-all",
        "--unshare-user",
        "--disable-userns",
        "--cap-drop",
        "ALL",
        "--die-with-parent",
    ]
    command += ["--new-session", "--as-pid-1", "--uid", str(USER_ID), "--gid", str(USER_ID), "--hostname", "sandbox"]
    command += ["--seccomp", str(SECCOMP_FD), "--clearenv"]
    etc = reach(places.etc)
    command += [
        "--proc",
        "/proc",
        *_covers(etc),
        "--dev",
        "/dev",
        "--bind",
        f"{places.files}/shm",
        "/dev/shm",  # noqa: S108 - inside
        "--remount-ro",
        "/dev",
    ]
    command += _libraries()
    for path in (*interpreter_parts(request.interpreter), *request.tools):
        command += _ro(reach(path), path)
    for folder, target in children_mounts(request.interpreter):
        command += _ro(reach(folder), target)
    command += _ro(etc, "/etc")
    command += _ro(reach(str(GUEST_FOLDER)), "/mecapy/_mecapy_guest")
    command += _ro(reach(request.package), "/package")
    if request.site_packages is not None:
        command += _ro(reach(request.site_packages), "/site-packages")
    command += _ro(reach(request.inputs), "/workspace/in")
    for name, target in (("out", "/workspace/out"), ("scratch", "/workspace/scratch"), ("tmp", "/tmp")):  # noqa: S108 - inside the sandbox
        command += ["--bind", f"{places.files}/{name}", target]
    command += ["--remount-ro", "/", "--chdir", "/workspace/scratch"]
    for name, value in call_environment(request.interpreter, request.tools, request.environment).items():
        command += ["--setenv", name, value]
    return [*command, "--", request.interpreter, *PYTHON_OPTIONS, "/mecapy/_mecapy_guest/init.py", request.guest]


def zygote_command(request: WarmRequest, places: Places, reach: Callable[[str], str]) -> list[str]:
    """As above, for the zygote of a warm sandbox, which keeps what it needs to confine each call and gives it up there.

    `places.files` is the folder in which the packages of its organization appear. Mount points that calls use are made
    here.
    """
    command = [places.bwrap, "--unshare-all", "--unshare-user", "--cap-drop", "ALL", "--die-with-parent"]
    for capability in ZYGOTE_CAPABILITIES:
        command += ["--cap-add", capability]
    command += ["--new-session", "--as-pid-1", "--uid", str(USER_ID), "--gid", str(USER_ID), "--hostname", "sandbox"]
    command += ["--seccomp", str(SECCOMP_FD), "--clearenv"]
    command += ["--proc", "/proc", *_devices_without_terminals()]
    command += _libraries()
    for path in (*interpreter_parts(request.interpreter), *request.tools):
        command += _ro(reach(path), path)
    for folder, target in children_mounts(request.interpreter):
        command += _ro(reach(folder), target)
    command += _ro(reach(places.etc), "/etc")
    command += _ro(reach(str(GUEST_FOLDER)), "/mecapy/_mecapy_guest")
    for source, target in ((request.site_packages, "/site-packages"), (request.vetted, "/vetted")):
        if source is not None:
            command += _ro(reach(source), target)
    command += _ro(places.files, "/packages")
    for folder in ("/package", "/mnt", "/tmp", "/workspace/in", "/workspace/out", "/workspace/scratch"):  # noqa: S108 - inside the sandbox
        command += ["--dir", folder]
    command += ["--remount-ro", "/", "--chdir", "/"]
    for name, value in call_environment(request.interpreter, request.tools, request.environment).items():
        command += ["--setenv", name, value]
    return [*command, "--", request.interpreter, *PYTHON_OPTIONS, "/mecapy/_mecapy_guest/zygote.py", request.guest]


def _devices_without_terminals() -> list[str]:
    """/dev as `--dev` makes it, but for terminals.

    For these bwrap would nest the user namespace, and no call could make mounts in it.
    """
    command = ["--tmpfs", "/dev"]
    for name in ("null", "zero", "full", "random", "urandom"):
        command += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        command += ["--symlink", f"/proc/self/fd{target}", f"/dev/{name}"]
    return [*command, "--dir", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108 - inside the sandbox


def _ro(source: str, target: str) -> list[str]:
    return ["--ro-bind", source, target]


def _covers(etc: str) -> list[str]:
    names = (name for name in (*TELLING_FILES, *TELLING_FOLDERS, MEMORY_FILE) if Path("/proc", name).exists())
    return [word for name in names for word in _ro(f"{etc}/covers/{name}", f"/proc/{name}")]


def _libraries() -> list[str]:
    """The loader and the system's libraries; links at the top (`/lib` -> `usr/lib`) are made again."""
    command: list[str] = []
    for folder in LIBRARY_FOLDERS[:2]:
        if Path(folder).is_dir():
            command += _ro(folder, folder)
    for link in TOP_LINKS:
        path = Path(link)
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), link]
        elif path.is_dir():
            command += _ro(link, link)
    if Path("/usr/share/zoneinfo").is_dir():
        command += _ro("/usr/share/zoneinfo", "/usr/share/zoneinfo")
    return command
