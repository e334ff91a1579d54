"""Control groups of one run: version 1 (memory, pids, cpu, cpuacct), version 2 where delegated, or none."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass

from mecapy_platform.sandbox.memory_kills import MemoryKills, count_memory_kills

ROOT = "/sys/fs/cgroup"
KILL_ROUNDS, KILL_SECONDS = 500, 0.002
KILL_FOLLOWS_SECONDS = 1.0
V1_KINDS = ("memory", "pids", "cpu", "cpuacct")


def _read(path: str) -> str:
    with open(path) as file:  # noqa: PTH123 - strings throughout, see system.py
        return file.read()


def _write(path: str, text: object) -> None:
    with open(path, "w") as file:  # noqa: PTH123 - as above
        file.write(str(text))


@dataclass(frozen=True)
class CgroupBase:
    """Where our groups are made: one folder per controller in version 1 (kind -> folder), one folder in version 2."""

    version: int  # 0: no group can be made
    folders: dict[str, str]


def find_base(prefix: str) -> CgroupBase:
    """Find folders in which this process may make groups, and make one of ours, named `prefix`, in each."""
    own = dict(line.split(":", 2)[1:] for line in _read("/proc/self/cgroup").splitlines())
    if os.path.isdir(f"{ROOT}/memory"):  # noqa: PTH112 - strings throughout
        folders = {}
        for kind in V1_KINDS:
            path = next((path for kinds, path in own.items() if kind in kinds.split(",")), "/")
            folder = f"{ROOT}/{kind}{path.rstrip('/')}"
            folders[kind] = f"{folder if os.path.isdir(folder) else f'{ROOT}/{kind}'}/{prefix}"  # noqa: PTH112
        return CgroupBase(1, folders) if _make_all(folders) else CgroupBase(0, {})
    folder = f"{ROOT}{own.get('', '/').rstrip('/')}/{prefix}"
    try:
        _make_v2(folder)
    except OSError:
        return CgroupBase(0, {})
    return CgroupBase(2, {"": folder})


def _make_all(folders: dict[str, str]) -> bool:
    try:
        for folder in folders.values():
            os.makedirs(folder, mode=0o755, exist_ok=True)  # noqa: PTH103 - strings throughout
            if not os.access(f"{folder}/cgroup.procs", os.W_OK):
                return False
    except OSError:
        return False
    return True


def _make_v2(folder: str) -> None:
    """Version 2 lets a group have either processes or controlled children: ours only has children."""
    parent = os.path.dirname(folder)  # noqa: PTH120 - strings throughout
    if not {"memory", "pids", "cpu"} <= set(_read(f"{parent}/cgroup.controllers").split()):
        raise FileNotFoundError(f"no controllers in {parent}")  # before anything is moved or made
    os.makedirs(folder, mode=0o755, exist_ok=True)  # noqa: PTH103
    wanted = "+memory +pids +cpu"
    if not {"memory", "pids", "cpu"} <= set(_read(f"{folder}/cgroup.controllers").split()):
        leaf = f"{parent}/mecapy-self"
        os.makedirs(leaf, exist_ok=True)  # noqa: PTH103
        for pid in _read(f"{parent}/cgroup.procs").split():
            _write(f"{leaf}/cgroup.procs", pid)
        _write(f"{parent}/cgroup.subtree_control", wanted)
    _write(f"{folder}/cgroup.subtree_control", wanted)


class RunCgroup:
    """The groups of one run. Made ahead of the request, because joining a version 1 group takes milliseconds."""

    def __init__(self, base: CgroupBase, name: str) -> None:
        self.version = base.version
        self.folders = {kind: f"{folder}/{name}" for kind, folder in base.folders.items()}
        for folder in self.folders.values():
            os.makedirs(folder, mode=0o755, exist_ok=True)  # noqa: PTH103 - strings throughout
        self._oom_event: int | None = None
        self._told_at: float | None = None

    def join(self, pid: int) -> None:
        for folder in self.folders.values():
            _write(f"{folder}/cgroup.procs", pid)

    def send_back(self, pid: int) -> None:
        """Out of our groups, to where these lie: for a process that was not meant."""
        for folder in self.folders.values():
            with suppress(OSError):
                if str(pid) in _read(f"{folder}/cgroup.procs").split():
                    _write(f"{os.path.dirname(os.path.dirname(folder))}/cgroup.procs", pid)  # noqa: PTH120 - strings throughout

    def limit(self, *, memory_bytes: int, processes: int, cpu: int, cpu_weight: int = 100) -> None:
        if self.version == 1:
            self._limit_memory(memory_bytes)
            _write(f"{self.folders['pids']}/pids.max", processes)
            with suppress(OSError):  # refused above what the group over it has: then that holds
                _write(f"{self.folders['cpu']}/cpu.cfs_quota_us", cpu * 100_000)
            with suppress(OSError):
                _write(f"{self.folders['cpu']}/cpu.shares", cpu_weight * 1024 // 100)
        elif self.version == 2:
            folder = self.folders[""]
            _write(f"{folder}/memory.max", memory_bytes)
            with suppress(OSError):
                _write(f"{folder}/memory.swap.max", 0)
            with suppress(OSError):
                _write(f"{folder}/memory.oom.group", 1)
            _write(f"{folder}/pids.max", processes)
            _write(f"{folder}/cpu.max", f"{cpu * 100_000} 100000")
            with suppress(OSError):
                _write(f"{folder}/cpu.weight", cpu_weight)

    def _limit_memory(self, memory_bytes: int) -> None:
        """Memory, and memory with swap.

        The kernel refuses a moment in which the first is above the second, so a rise begins with that.
        """
        folder = self.folders["memory"]
        names = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        if memory_bytes > int(_read(f"{folder}/memory.limit_in_bytes")):
            names.reverse()
        for name in names:
            with suppress(FileNotFoundError):  # no swap accounting: the first is the whole limit
                _write(f"{folder}/{name}", memory_bytes)

    def watch_oom(self) -> int | None:
        """A descriptor that becomes readable when the group runs out of memory, where version 1 offers one.

        Also when a group above it does, and before anything is killed; `hear_oom` takes that down.
        """
        if self.version != 1:
            return None
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        folder = self.folders["memory"]
        control = os.open(f"{folder}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _write(f"{folder}/cgroup.event_control", f"{event} {control}")
        except OSError:
            os.close(event)
            return None
        finally:
            os.close(control)
        self._oom_event = event
        return event

    def hear_oom(self) -> None:
        if self._oom_event is not None:
            with suppress(BlockingIOError):
                os.eventfd_read(self._oom_event)
                self._told_at = time.monotonic()

    def was_told_lately(self) -> bool:
        """The kernel has rung: if it was for this group, a kill follows at once."""
        return self._told_at is not None and time.monotonic() - self._told_at < KILL_FOLLOWS_SECONDS

    def forget_oom(self) -> None:
        if self._oom_event is not None:
            os.close(self._oom_event)
            self._oom_event = None

    def memory_kills(self) -> MemoryKills:
        if self.version == 0:
            return MemoryKills()
        folder = self.folders["memory" if self.version == 1 else ""]
        self.hear_oom()
        was_told = self._oom_event is None or self._told_at is not None
        return count_memory_kills(lambda name: _read(f"{folder}/{name}"), self.version, was_told=was_told)

    def pids_refused(self) -> int:
        """How often a process could not be made because of the limit."""
        if self.version == 0:
            return 0
        folder = self.folders["pids"] if self.version == 1 else self.folders[""]
        try:
            return int(_read(f"{folder}/pids.events").split()[1])
        except (OSError, IndexError, ValueError):
            return 0

    def peak_bytes(self) -> int | None:
        try:
            if self.version == 1:
                return int(_read(f"{self.folders['memory']}/memory.max_usage_in_bytes"))
            return int(_read(f"{self.folders['']}/memory.peak")) if self.version == 2 else None
        except (OSError, ValueError):
            return None

    def cpu_seconds(self) -> float | None:
        try:
            if self.version == 1:
                return int(_read(f"{self.folders['cpuacct']}/cpuacct.usage")) / 1e9
            if self.version == 2:
                return int(_read(f"{self.folders['']}/cpu.stat").split()[1]) / 1e6
        except (OSError, ValueError, IndexError):
            return None
        return None

    def free_cpu(self) -> None:
        """No limit on CPU any more, for a group that is being killed: dying takes CPU too."""
        with suppress(OSError):
            if self.version == 1:
                _write(f"{self.folders['cpu']}/cpu.cfs_quota_us", -1)
            elif self.version == 2:
                _write(f"{self.folders['']}/cpu.max", "max 100000")

    def kill(self) -> None:
        """SIGKILL to every process of the group, until none is left: version 1 cannot do it in one step."""
        self.free_cpu()
        for _round in range(KILL_ROUNDS):
            pids = self._pids()
            if not pids:
                return
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(KILL_SECONDS)

    def _pids(self) -> set[int]:
        """Of all groups: a process that joined some of them alone is in it too."""
        found: set[int] = set()
        for folder in self.folders.values():
            with suppress(FileNotFoundError):
                found |= {int(pid) for pid in _read(f"{folder}/cgroup.procs").split()}
        return found

    def remove(self) -> None:
        for folder in self.folders.values():
            with suppress(OSError):
                os.rmdir(folder)  # noqa: PTH106 - strings throughout


def remove_stale(base: CgroupBase, name: str = "") -> None:
    """Kill and remove what a dead predecessor left behind, or, by `name`, one dead supervisor of ours.

    Others' groups are not touched.
    """
    for folder in base.folders.values():
        for entry in os.listdir(folder):  # noqa: PTH208 - strings throughout
            path = f"{folder}/{entry}"
            is_meant = not name or entry == name or entry.startswith(f"{name}-slot-")
            if not is_meant or not os.path.isdir(path):  # noqa: PTH112
                continue
            _kill_and_remove(path)


def _kill_and_remove(path: str) -> None:
    """A group cannot be removed before the last of its processes is gone."""
    for _round in range(KILL_ROUNDS):
        with suppress(FileNotFoundError):
            for pid in _read(f"{path}/cgroup.procs").split():
                with suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
        try:
            os.rmdir(path)  # noqa: PTH106 - strings throughout
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(KILL_SECONDS)
        else:
            return
