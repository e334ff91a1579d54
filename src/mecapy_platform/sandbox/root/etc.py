"""The /etc that sandboxes see.

Names of one user, and what is read instead of files of /proc that tell of the whole machine.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

USER_ID = 1000  # inside the sandbox, whatever the uid outside

ETC_FILES = {
    "passwd": (
        f"task:x:{USER_ID}:{USER_ID}:task:/workspace/scratch:/usr/sbin/nologin\n"
        "nobody:x:65534:65534::/:/usr/sbin/nologin\n"
    ),
    "group": f"task:x:{USER_ID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}

# what the whole machine does, and with it when others work; each is covered by a file that says nothing
TELLING_FILES = (
    *(
        "stat",
        "loadavg",
        "vmstat",
        "diskstats",
        "interrupts",
        "softirqs",
        "schedstat",
        "zoneinfo",
        "buddyinfo",
        "pagetypeinfo",
    ),
    *("locks", "cgroups", "keys", "key-users", "swaps", "partitions", "cmdline", "uptime"),
)
MEMORY_FILE = "meminfo"  # libraries ask it for the size of the machine, which is all that the cover says
TELLING_FOLDERS = ("pressure",)


def write_etc(folder: Path) -> None:
    """No host data but the loader's cache and the links to alternatives of libraries.

    Several processes may write the same folder at once, and runs that are under way read it: what is right already
    stays untouched.
    """
    for place in (folder, folder / "alternatives", folder / "covers"):
        _make_open(place)
    cache = Path("/etc/ld.so.cache")
    contents = {**{name: text.encode() for name, text in ETC_FILES.items()}, **_covers()}
    if cache.is_file():
        contents["ld.so.cache"] = cache.read_bytes()
    for name, content in contents.items():
        _put(folder, name, content)
    for name in TELLING_FOLDERS:
        if Path("/proc", name).is_dir():
            _make_open(folder / "covers" / name)
    source = Path("/etc/alternatives")
    for entry in source.iterdir() if source.is_dir() else ():
        if entry.is_symlink() and str(target := entry.readlink()).startswith("/usr/lib/"):
            with suppress(FileExistsError):
                (folder / "alternatives" / entry.name).symlink_to(target)


def memory_of_the_machine() -> str:
    """A /proc/meminfo that tells how much memory there is, and nothing of how much of it others use."""
    total_kb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10
    free = {"MemTotal": total_kb, "MemFree": total_kb, "MemAvailable": total_kb}
    used: tuple[str, ...] = (
        "Buffers",
        "Cached",
        "SwapCached",
        "Active",
        "Inactive",
        "SwapTotal",
        "SwapFree",
        "Dirty",
        "Shmem",
        "Slab",
    )
    used += ("SReclaimable", "SUnreclaim")
    return "".join(f"{name + ':':15} {size:8} kB\n" for name, size in (free | dict.fromkeys(used, 0)).items())


def _covers() -> dict[str, bytes]:
    """They say nothing, but for those that libraries count processors and memory by.

    A warm call is covered by all that lies in covers/.
    """
    processors = [f"cpu{number} 0 0 0 0 0 0 0 0 0 0" for number in sorted(os.sched_getaffinity(0))]
    lines = (
        "cpu  0 0 0 0 0 0 0 0 0 0",
        *processors,
        "intr 0",
        "ctxt 0",
        "btime 0",
        "processes 0",
        "procs_running 1",
        "procs_blocked 0",
    )
    return {
        **{f"covers/{name}": b"" for name in TELLING_FILES if Path("/proc", name).exists()},
        "covers/stat": ("\n".join(lines) + "\n").encode(),
        "covers/loadavg": b"0.00 0.00 0.00 1/1 1\n",
        "covers/uptime": b"1.00 1.00\n",
        f"covers/{MEMORY_FILE}": memory_of_the_machine().encode(),
    }


def _make_open(place: Path) -> None:
    """For sandboxes' users to look into, whatever the umask of the process that makes it."""
    place.mkdir(parents=True, exist_ok=True)
    if place.stat().st_mode & 0o755 != 0o755:
        place.chmod(0o755)


def _put(folder: Path, name: str, content: bytes) -> None:
    """Whole or not at all, for whoever reads it meanwhile.

    Made in the folder itself, as a warm call takes all that lies in covers/.
    """
    file = folder / name
    with suppress(FileNotFoundError):
        if file.read_bytes() == content:
            return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".new-", delete=False) as made:
        made.write(content)
    made_path = Path(made.name)
    made_path.chmod(0o644)
    made_path.replace(file)
