"""Attacks on secrets: environment, files of host and platform, memory of others, sockets of services, cloud metadata."""

import glob
import os
import re
import socket
import sys

from calls import call
from report import Report, name_of, pause

KNOWN_NAMES = re.compile(
    "PATH|HOME|TMPDIR|LANG|LC_CTYPE|TZ|PWD|HOSTNAME|MECAPY_(CPU_LIMIT|MEM_LIMIT_MB|SCRATCH)|[A-Z]+_NUM_THREADS|CCX_NPROC_[A-Z_]+"
    "|HDF5_USE_FILE_LOCKING|PYTHON[A-Z]+|MPLCONFIGDIR|XDG_CACHE_HOME|NUMBA_CACHE_DIR"
)
HIDDEN = (
    ".aws/credentials",
    ".docker/config.json",
    ".ssh/id_rsa",
    ".netrc",
    ".config/gcloud/credentials.db",
    ".pgpass",
)
KEEPS = (
    "/etc/shadow", "/etc/ssh", "/etc/ssl/private", "/etc/machine-id", "/root", "/home", "/var/lib", "/var/log", "/var/run", "/run", "/opt",
    "/srv", "/mnt", "/media", "/boot", "/sys/kernel", "/sys/class/dmi", "/sys/fs/cgroup", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda",
    "/proc/kcore", "/proc/kmsg", "/proc/1/environ", "/proc/1/mem", "/proc/1/root", "/proc/1/cwd", "/proc/1/fd", "/proc/1/maps",
    "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/systemd/private", "/run/dbus/system_bus_socket",
    "/var/run/secrets/kubernetes.io/serviceaccount/token", *(f"{home}/{name}" for home in ("/root", "/home/user", "/workspace") for name in HIDDEN),
)  # fmt: skip


def peek(path: str) -> str:
    """Something of it: a name of a folder, bytes of a file. Raises when there is nothing to be had."""
    if os.path.isdir(path):
        names = [name for name in os.listdir(path) if not leads_to_interpreter(f"{path}/{name}")]
        if not names:
            raise OSError(None, "nothing inside")
        return names[0]
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        data = os.read(descriptor, 64)
    finally:
        os.close(descriptor)
    if not data:
        raise OSError(None, "empty")
    return data[:16].hex()


def leads_to_interpreter(path: str) -> bool:
    """The interpreter stays at its own path: the folders above it exist, and hold nothing else."""
    shown = {
        os.path.realpath(sys.executable),
        os.path.realpath(f"{sys.base_prefix}/lib"),
        os.path.realpath(f"{sys.prefix}/lib"),
    }
    if any(path == item or path.startswith(f"{item}/") for item in shown):
        return True
    if not any(item.startswith(f"{path}/") for item in shown):
        return os.path.islink(path)
    return all(leads_to_interpreter(f"{path}/{name}") for name in os.listdir(path))


def environment_holds_no_secret(report: Report) -> None:
    for name in os.environ:
        report.holds(f"variable {name}", KNOWN_NAMES.fullmatch(name) is not None, "of the runtime contract")


def environ_of_every_process(report: Report) -> None:
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                names = [pair.partition(b"=")[0].decode() for pair in file.read().split(b"\0") if pair]
        except OSError as error:
            report.note(path, name_of(error))
            continue
        strange = [name for name in names if KNOWN_NAMES.fullmatch(name) is None]
        report.holds(path, not strange, strange or "known names only")


def usual_places_of_secrets(report: Report) -> None:
    for path in KEEPS:
        report.refused(path, peek, path)


def files_of_the_platform(report: Report) -> None:
    for path in report.world["paths"]:
        for way in (path, f"/proc/self/root{path}", f"/proc/1/root{path}", f"/proc/self/cwd/../../..{path}"):
            report.refused(way, peek, way)


def sockets_of_the_platform(report: Report) -> None:
    for path in report.world["sockets"]:
        with socket.socket(socket.AF_UNIX) as one:
            report.refused(f"unix {path}", one.connect, path)
    for port in report.world["ports"]:
        for host in ("127.0.0.1", "::1"):
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
                one.settimeout(0.5)
                report.refused(f"tcp {host}:{port}", one.connect, (host, port))


def cloud_metadata(report: Report) -> None:
    for host, family in (
        ("169.254.169.254", socket.AF_INET),
        ("100.100.100.200", socket.AF_INET),
        ("fd00:ec2::254", socket.AF_INET6),
    ):
        with socket.socket(family) as one:
            one.settimeout(0.5)
            report.refused(f"tcp [{host}]:80", one.connect, (host, 80))
    for name in ("metadata.google.internal", "instance-data"):
        report.refused(f"name {name}", socket.getaddrinfo, name, 80)


def memory_of_init(report: Report) -> None:
    for pid in {1, os.getppid()} - {int(os.environ.get("CASE_PARENT", "0"))}:
        if pid != 1 and report.world.get("kind") == "batch":
            continue  # in a batch the parent is the task's own process
        for name in (
            "environ",
            "mem",
            "maps",
            "fd",
            "root",
            "cwd",
            "exe",
            "auxv",
            "syscall",
            "stack",
            "fdinfo",
            "map_files",
        ):
            report.refused(f"/proc/{pid}/{name}", look, f"/proc/{pid}/{name}")


def look(path: str) -> object:
    """As strong as `peek`, for entries of /proc that are links or folders."""
    if os.path.islink(path):
        return os.readlink(path)
    if os.path.isdir(path):
        return [
            os.readlink(f"{path}/{name}") if os.path.islink(f"{path}/{name}") else name for name in os.listdir(path)
        ][0]
    with open(path, "rb") as file:
        data = file.read(8)
    if not data:
        raise OSError(None, "empty")
    return data


def kernel_messages(report: Report) -> None:
    for action in (2, 3, 10):
        report.refused(f"syslog({action})", call, "syslog", action, 0, 0)
    for path in ("/dev/kmsg", "/proc/kmsg"):
        report.refused(path, peek, path)


def kernel_memory(report: Report) -> None:
    for path in (
        "/proc/kcore",
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/proc/kpagecount",
        "/proc/kpageflags",
        "/proc/vmallocinfo",
    ):
        report.refused(path, peek, path)
    report.holds("/proc/kallsyms", not _addresses("/proc/kallsyms"), "no address")
    report.holds("/proc/iomem", not _addresses("/proc/iomem"), "no address")
    with open("/proc/self/pagemap", "rb") as file:
        frame = int.from_bytes(file.read(8), "little") & ((1 << 55) - 1)
    report.holds("/proc/self/pagemap", frame == 0, f"frame {frame}")


def _addresses(path: str) -> list[str]:
    try:
        with open(path) as file:
            words = [line.split()[0] for line in file if line.strip()]
    except OSError:
        return []
    return [word for word in words if set(word) - set("0-:")]


def names_of_the_host(report: Report) -> None:
    names = {socket.gethostname(), os.uname().nodename}
    for path in ("/etc/hostname", "/proc/sys/kernel/hostname", "/etc/hosts", "/proc/sys/kernel/domainname"):
        try:
            with open(path) as file:
                names |= set(file.read().split())
        except OSError as error:
            report.note(path, name_of(error))
    report.holds("host name", report.world["hostname"] not in names, sorted(names))
    users = [line.split(":")[0] for line in open("/etc/passwd")]
    report.holds("/etc/passwd", set(users) <= {"root", "task", "nobody", "mecapy"}, users)


def what_mounts_tell(report: Report) -> None:
    """Folders of the host show as roots of mounts; no other company's and no other task's may."""
    with open("/proc/self/mountinfo") as file:
        text = file.read()
    for word in report.world["names_of_others"]:
        report.holds(f"mountinfo names {word}", word not in text, "not there")


def control_groups_tell_nothing(report: Report) -> None:
    with open("/proc/self/cgroup") as file:
        lines = file.read().splitlines()
    strange = [line for line in lines if line.split(":", 2)[2] not in {"/", ""}]
    report.holds("/proc/self/cgroup", not strange, strange or "/")


def activity_of_others(report: Report) -> None:
    """Two looks at counters of the whole machine: none may move with what others do."""
    for path in (
        "/proc/stat", "/proc/loadavg", "/proc/vmstat", "/proc/diskstats", "/proc/interrupts", "/proc/softirqs", "/proc/schedstat",
        "/proc/zoneinfo", "/proc/buddyinfo", "/proc/locks", "/proc/key-users", "/proc/keys", "/proc/pressure/cpu", "/proc/pressure/memory",
        "/proc/pressure/io", "/proc/timer_list", "/proc/sched_debug", "/proc/slabinfo", "/proc/pagetypeinfo", "/proc/cgroups", "/proc/swaps",
        "/proc/partitions", "/proc/cmdline",
    ):  # fmt: skip
        try:
            with open(path, "rb") as file:
                text = file.read(1 << 20)
        except OSError as error:
            report.note(path, name_of(error))
            continue
        numbers = {word for word in re.findall(rb"\b\d{2,}\b", text) if word.strip(b"0")}
        is_quiet = not text.strip() or (path in {"/proc/stat", "/proc/loadavg"} and not numbers - {b"100", b"1024"})
        report.holds(path, is_quiet, "made by us" if text.strip() else "empty")


def memory_and_uptime_of_the_machine(report: Report) -> None:
    """Two looks, between which this task takes memory and time passes: what is free, and how idle the machine was, must not move."""
    paths = ("/proc/meminfo", "/proc/uptime")
    before = [_text(path) for path in paths]
    held = bytearray(os.urandom(1) * (24 << 20))
    pause(0.1)
    for path, text in zip(paths, before, strict=True):
        report.holds(path, _text(path) == text, "still, with " + str(len(text)) + " bytes")
    held.clear()
    sizes = dict(re.findall(r"(\w+): +(\d+) kB", _text("/proc/meminfo")))
    report.holds("memory in use", sizes.get("MemFree") == sizes["MemTotal"], sizes["MemTotal"])


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()
