"""Attacks on the file system: writing anywhere, mounting, leaving the root, devices, /proc/sys, ways around a path."""

import contextlib
import ctypes
import os
import stat
from functools import partial

from calls import call
from report import Report
from secrets_of_others import peek

WRITABLE = ("/workspace/out", "/workspace/scratch", "/tmp", "/dev/shm")
DEVICES = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
LINKS = {"core", "fd", "stdin", "stdout", "stderr", "ptmx"}


def _folders() -> list[str]:
    found = []
    for top, folders, _files in os.walk("/", followlinks=False):
        folders[:] = [name for name in folders if not _is_skipped(f"{top.rstrip('/')}/{name}")]
        found.append(top)
        if top.count("/") >= 3:
            folders.clear()
    return found[:4000]


def _is_skipped(path: str) -> bool:
    return path in WRITABLE or path in {"/proc", "/sys"}


def writes_everywhere(report: Report) -> None:
    escapes = 0
    folders = _folders()
    for folder in folders:
        with contextlib.suppress(OSError):
            os.close(os.open(f"{folder}/planted", os.O_CREAT | os.O_WRONLY))
            report.note(f"write {folder}", "made", escaped=True)
            escapes += 1
    report.holds(f"a new file in each of {len(folders)} folders", escapes == 0, "EROFS or EACCES each")


def changes_what_is_shared(report: Report) -> None:
    libraries = [f"/usr/lib/{name}" for name in os.listdir("/usr/lib")[:5]]
    for path in (
        "/etc/passwd",
        "/package/entry.py",
        "/workspace/in/data.json",
        "/mecapy",
        "/usr/lib",
        "/package",
        *libraries,
    ):
        if not os.path.exists(path):
            continue
        report.refused(f"chmod {path}", os.chmod, path, 0o777)
        report.refused(f"chown {path}", os.chown, path, 1000, 1000)
        report.refused(f"utime {path}", os.utime, path, (0, 0))
        report.refused(f"setxattr {path}", os.setxattr, path, "user.x", b"x")
        report.refused(f"rename {path}", os.rename, path, f"{path}.moved")
        if os.path.isfile(path):
            report.refused(f"open for writing {path}", os.open, path, os.O_WRONLY)
            report.refused(f"truncate {path}", os.truncate, path, 0)
            report.refused(f"unlink {path}", os.unlink, path)


def mounts(report: Report) -> None:
    for name, arguments in (
        ("mount tmpfs", (b"tmpfs", b"/tmp", b"tmpfs", 0, 0)),
        ("mount proc", (b"proc", b"/tmp", b"proc", 0, 0)),
        ("bind /", (b"/", b"/tmp", 0, 0x1000, 0)),
        ("remount / writable", (0, b"/", 0, 0x20 | 0x1000, 0)),
        ("remount /package writable", (0, b"/package", 0, 0x20 | 0x1000, 0)),
        ("move /proc", (b"/proc", b"/tmp", 0, 0x2000, 0)),
        ("make shared", (0, b"/", 0, 1 << 20, 0)),
    ):
        report.refused(name, call, "mount", *arguments)
    for path in (b"/", b"/proc", b"/workspace/in", b"/dev/shm"):
        report.refused(f"umount {path!r}", call, "umount2", path, 2)
    report.refused("fsopen", call, "fsopen", b"tmpfs", 0)
    report.refused("fspick", call, "fspick", -100, b"/", 0)
    report.refused("open_tree", call, "open_tree", -100, b"/package", 1)
    report.refused("move_mount", call, "move_mount", -100, b"/tmp", -100, b"/workspace/scratch", 0)
    attributes = (ctypes.c_uint64 * 4)(0, 1, 0, 0)
    report.refused("mount_setattr", call, "mount_setattr", -100, b"/package", 0x8000, attributes, 32)


def leaves_its_root(report: Report) -> None:
    os.makedirs("/tmp/other/old", exist_ok=True)
    report.refused("chroot", call, "chroot", b"/tmp/other")
    report.refused("pivot_root", call, "pivot_root", b"/tmp/other", b"/tmp/other/old")
    up = os.open("/", os.O_PATH)
    for _ in range(40):
        up = os.open("..", os.O_PATH, dir_fd=up)
    seen, own = os.stat(up), os.stat("/")
    report.holds("forty times ..", (seen.st_dev, seen.st_ino) == (own.st_dev, own.st_ino), "its own root")


def ways_around_a_path(report: Report) -> None:
    for path in report.world["paths"][:4] + ["/etc/shadow", "/var/lib"]:
        for before in (
            "/proc/self/root/..",
            "/proc/thread-self/root",
            "/proc/self/cwd/../../../..",
            "/proc/self/task/1/root",
            "/dev/fd/../root",
        ):
            report.refused(before + path, peek, before + path)
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.fstat(number).st_mode):
                report.note(f"/proc/self/fd/{number}/..", "a folder is open", escaped=True)
    handle = ctypes.create_string_buffer(128)
    ctypes.c_uint.from_buffer(handle).value = 120
    report.refused("name_to_handle_at", call, "name_to_handle_at", -100, b"/", handle, ctypes.byref(ctypes.c_int()), 0)
    report.refused("open_by_handle_at", call, "open_by_handle_at", -100, handle, 0)


def hard_links(report: Report) -> None:
    for source in (
        "/etc/passwd",
        "/workspace/in/data.json",
        "/package/entry.py",
        "/proc/self/exe",
        "/usr/lib/os-release",
    ):
        if os.path.exists(source):
            report.refused(f"link {source}", os.link, source, "/workspace/out/artifacts/linked")
    descriptor = os.open("/workspace/in/data.json", os.O_RDONLY)
    report.refused(
        "link by descriptor", partial(os.link, f"/proc/self/fd/{descriptor}", "/tmp/linked", follow_symlinks=True)
    )


def makes_devices(report: Report) -> None:
    for folder in ("/tmp", "/workspace/scratch", "/workspace/out", "/dev/shm", "/dev"):
        for kind, name, major, minor in (
            (stat.S_IFCHR, "mem", 1, 1), (stat.S_IFCHR, "null", 1, 3), (stat.S_IFCHR, "kmsg", 1, 11), (stat.S_IFBLK, "disk", 8, 0),
            (stat.S_IFBLK, "vda", 254, 0), (stat.S_IFCHR, "fuse", 10, 229), (stat.S_IFCHR, "whiteout", 0, 0),
        ):  # fmt: skip
            report.refused(
                f"mknod {folder}/{name}", os.mknod, f"{folder}/{name}", kind | 0o600, os.makedev(major, minor)
            )


def only_harmless_devices(report: Report) -> None:
    names = set(os.listdir("/dev"))
    strange = {name for name in names - DEVICES - LINKS if name not in {"pts", "shm", "mqueue"}}
    report.holds("/dev", not strange, sorted(strange) or sorted(names))
    for name in (
        "mem",
        "kmem",
        "port",
        "kmsg",
        "fuse",
        "kvm",
        "net/tun",
        "vhost-net",
        "loop-control",
        "mapper/control",
        "vsock",
        "userfaultfd",
    ):
        report.refused(f"open /dev/{name}", os.open, f"/dev/{name}", os.O_RDWR)
    report.refused("open /dev/tty", os.open, "/dev/tty", os.O_RDWR)


def writes_to_kernel_settings(report: Report) -> None:
    for path, text in (
        ("/proc/sys/kernel/core_pattern", "|/tmp/x"), ("/proc/sys/kernel/modprobe", "/tmp/x"), ("/proc/sys/kernel/hostname", "x"),
        ("/proc/sys/vm/drop_caches", "1"), ("/proc/sys/vm/overcommit_memory", "1"), ("/proc/sys/fs/binfmt_misc/register", ":x:M::x::/x:"),
        ("/proc/sys/kernel/ns_last_pid", "5"), ("/proc/sys/net/ipv4/ip_forward", "1"), ("/proc/sys/user/max_user_namespaces", "9"),
        ("/proc/sys/kernel/randomize_va_space", "0"), ("/proc/sysrq-trigger", "h"), ("/proc/self/uid_map", "0 0 1"),
        ("/proc/self/gid_map", "0 0 1"), ("/proc/self/setgroups", "allow"), ("/proc/self/loginuid", "0"), ("/proc/irq/0/smp_affinity", "1"),
        ("/sys/kernel/uevent_helper", "/tmp/x"), ("/sys/kernel/mm/ksm/run", "1"), ("/sys/fs/cgroup/cgroup.procs", "0"),
        ("/sys/fs/cgroup/memory/release_agent", "/tmp/x"), ("/proc/sys/kernel/shmmax", "1"), ("/proc/sys/fs/mqueue/msg_max", "9"),
        ("/proc/1/oom_score_adj", "1000"), ("/proc/1/comm", "x"), ("/proc/1/timerslack_ns", "1"),
    ):  # fmt: skip
        report.refused(path, _write, path, text)


def _write(path: str, text: str) -> int:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        return os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def flags_of_all_mounts(report: Report) -> None:
    """Of each mount that can be reached: read-only or a writable place, without devices or read-only."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    for words in lines:
        place, flags = words[4], words[5].split(",")
        is_made = words[words.index("-") + 1] in {"devtmpfs", "devpts", "mqueue"} or place.startswith(("/dev", "/proc"))
        is_leaf = any(place == item or place.startswith(f"{item}/") for item in WRITABLE) or place.startswith(
            ("/dev", "/proc")
        )
        if not _is_reached(place, words[2]):
            continue
        report.holds(f"{place} read-only", "ro" in flags or is_leaf, ",".join(flags))
        report.holds(f"{place} no devices", "nodev" in flags or "ro" in flags or is_made, ",".join(flags))


def _is_reached(place: str, device: str) -> bool:
    """Not covered by another mount."""
    try:
        seen = os.stat(place).st_dev
    except OSError:
        return False
    return f"{os.major(seen)}:{os.minor(seen)}" == device


def system_folder_is_absent(report: Report) -> None:
    report.holds("/sys", not os.path.isdir("/sys") or not os.listdir("/sys"), "absent")


def quota_and_accounting(report: Report) -> None:
    report.refused("quotactl", call, "quotactl", 0x800002 << 8, b"/dev/vda", 0, 0)
    report.refused("quotactl_fd", call, "quotactl_fd", 0, 0, 0, 0)
    report.refused("acct", call, "acct", b"/tmp/acct")
    report.refused("swapon", call, "swapon", b"/tmp/swap", 0)
    report.refused("swapoff", call, "swapoff", b"/tmp/swap")
    report.refused("fanotify_init", call, "fanotify_init", 0, 0)
