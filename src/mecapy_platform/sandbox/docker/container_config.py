"""What the daemon is asked for one container, built by pure functions: the whole confinement can be read here."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mecapy_platform.sandbox.base import Limits, SandboxSpec
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.guest_order import guest_order
from mecapy_platform.sandbox.limits import thread_environment
from mecapy_platform.sandbox.root.etc import TELLING_FILES, TELLING_FOLDERS
from mecapy_platform.sandbox.syscalls.docker_profile import profile_json

GUEST = "/mecapy/_mecapy_guest"
INIT = f"{GUEST}/container.py"
PYTHON_FLAGS = ("-I", "-S", "-B", "-u", "-X", "frozen_modules=on")
OUT_FILES = 4  # out/ itself, and the folders and the list that we make in it
SCRATCH = "/workspace/scratch"
LABEL = "mecapy"
EMPTY = "empty"  # a file of each run's folder
COVER = "ro,nosuid,nodev,size=65536,nr_inodes=256,mode=0755"
HIDDEN = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats", "/sys", *(f"/proc/{name}" for name in (*TELLING_FILES, *TELLING_FOLDERS)),
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True)
class ContainerProgram:
    """What a container starts as its first process: our init, by an interpreter that its mounts bring along."""

    image: str
    argv: tuple[str, ...]
    mounts: tuple[tuple[str, str], ...]  # host path, path inside; always read-only
    environment: Mapping[str, str] = field(default_factory=dict)  # of the user's process
    covered: tuple[str, ...] = ()  # folders of the image in which nothing but mounts of ours is seen
    cleared: tuple[str, ...] = ()  # variables of the image that our init must not see
    folder: str = SCRATCH  # in which the user's process starts


@dataclass(frozen=True)
class Identity:
    """Whose container it is."""

    name: str
    uid: int
    labels: Mapping[str, str]


def container_config(
    spec: SandboxSpec, program: ContainerProgram, identity: Identity, options: DockerOptions, *, waits: bool = False
) -> dict[str, Any]:
    """The body of the request that creates the container. `waits`: its order comes later, over the socket."""
    order = json.dumps(make_order(spec, program, waits=waits))
    return {
        "Image": program.image,
        "User": f"{identity.uid}:{identity.uid}",
        "Entrypoint": [*program.argv, INIT, order],
        "Cmd": [],
        "Env": ["LANG=C.UTF-8", "PATH=/mecapy", *program.cleared],
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "NetworkDisabled": True,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": dict(identity.labels),
        "HostConfig": _host_config(spec.limits, program, identity.uid, options),
    }


def make_order(spec: SandboxSpec, program: ContainerProgram, *, waits: bool) -> dict[str, Any]:
    """What guest/container.py is told."""
    limits = {
        name: getattr(spec.limits, name)
        for name in ("timeout_seconds", "grace_seconds", "log_bytes", "disk_bytes", "disk_files")
    }
    return {
        "wait": waits,
        "limits": limits,
        "guest": guest_order(spec),
        "argv": list(spec.entrypoint) or None,
        "files": {"required": list(spec.required_files), "optional": list(spec.optional_files)},
        "folder": program.folder,
        "environment": {**program.environment, **user_environment(spec.limits, program.environment)},
    }


def user_environment(limits: Limits, image: Mapping[str, str]) -> dict[str, str]:
    """The contract's variables; a path and a language where the image has none."""
    fixed = {"HOME": SCRATCH, "TMPDIR": "/tmp", "TZ": "UTC"}  # noqa: S108 - inside the sandbox
    given = {
        name: image.get(name, value) for name, value in (("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin"))
    }
    return {**given, **fixed, **thread_environment(limits)}


def labels_of(spec: SandboxSpec, name: str, options: DockerOptions) -> dict[str, str]:
    """What finds the container again, and tells a worker that comes back all it must know about it."""
    return {
        f"{LABEL}.platform": options.platform,
        f"{LABEL}.node": options.node,
        f"{LABEL}.name": name,
        f"{LABEL}.task": spec.task_id,
        f"{LABEL}.attempt": str(spec.attempt),
        f"{LABEL}.keep": "yes" if spec.keep else "no",
        f"{LABEL}.limits": json.dumps(asdict(spec.limits)),
    }


def limits_from(labels: Mapping[str, str]) -> Limits:
    return Limits(**json.loads(labels[f"{LABEL}.limits"]))


def _host_config(limits: Limits, program: ContainerProgram, uid: int, options: DockerOptions) -> dict[str, Any]:
    memory_bytes = limits.memory_mb << 20
    return {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={profile_json()}"],
        "MaskedPaths": list(HIDDEN),
        "ReadonlyPaths": list(READ_ONLY),
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Memory": memory_bytes,
        "MemorySwap": memory_bytes,
        "NanoCpus": limits.cpu * 1_000_000_000,
        "PidsLimit": limits.processes + 1,  # and our init
        "Ulimits": _ulimits(limits),
        "Tmpfs": {**_writable(limits, uid), **dict.fromkeys(program.covered, COVER)},
        "Mounts": [_mount(source, target) for source, target in program.mounts],
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": "64k"},
        },  # our init's last words; never the user's output
        "Init": False,
        **({"Runtime": options.runtime} if options.runtime else {}),
    }


def _ulimits(limits: Limits) -> list[dict[str, Any]]:
    values = {
        "nofile": limits.open_files,
        "core": 0,
        "memlock": 65536,
        "msgqueue": 0,
        "sigpending": 4096,
        "fsize": limits.disk_bytes,
    }
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in values.items()]


def _writable(limits: Limits, uid: int) -> dict[str, str]:
    """Each place has the whole limit by itself; their sum is watched by our init, and counts as the task's memory."""
    shared = f"rw,nosuid,nodev,size={limits.disk_bytes},uid={uid},gid={uid},mode=0755"
    own_files = {"/workspace/out": OUT_FILES, SCRATCH: 1, "/tmp": 1, "/dev/shm": 1}  # noqa: S108 - inside the sandbox
    return {
        place: f"{shared},nr_inodes={limits.disk_files + own},{'noexec' if place == '/dev/shm' else 'exec'}"  # noqa: S108 - inside
        for place, own in own_files.items()
    }


def _mount(source: str, target: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True, "BindOptions": {"NonRecursive": True}}


def search_path(programs: Sequence[str]) -> str:
    return ":".join(dict.fromkeys(os.path.dirname(path) for path in programs))  # noqa: PTH120 - joined as text


def write_run_folder(folder: Path, uid: int) -> None:
    """What one container is shown of its own: the folder of our socket, and a name for its uid."""
    (folder / "port").mkdir(parents=True, exist_ok=True)
    names = f"task:x:{uid}:{uid}:task:{SCRATCH}:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
    (folder / "passwd").write_text(names)
    (folder / EMPTY).touch()
    for path, mode in ((folder, 0o755), (folder / "port", 0o755), (folder / "passwd", 0o644), (folder / EMPTY, 0o644)):
        path.chmod(mode)
