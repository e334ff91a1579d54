"""What a container's control groups say, read from outside: by files that every user of the node may read."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.sandbox.memory_kills import MemoryKills, count_memory_kills

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Groups:
    """The group's folder per controller; on version 2 it is the same one for all."""

    folders: Mapping[str, Path]
    version: int

    @classmethod
    def of(cls, pid: int) -> "Groups":
        """Of a process as seen from here. Where its groups cannot be seen, every figure is zero."""
        folders: dict[str, Path] = {}
        unified: Path | None = None
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
                number, names, path = line.split(":", 2)
                if number == "0":
                    unified = ROOT / path.lstrip("/")
                for name in names.split(",") if names else ():
                    folders[name] = ROOT / name / path.lstrip("/")
        if "memory" in folders:
            return cls(folders, 1)
        return cls(dict.fromkeys(("memory", "pids", "cpuacct"), unified) if unified is not None else {}, 2)

    def memory_kills(self) -> MemoryKills:
        return count_memory_kills(lambda name: self._text("memory", name), self.version)

    def pids_refused(self) -> int:
        return self._member("pids", "pids.events", "max")

    def peak_bytes(self) -> int:
        return self._number("memory", "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")

    def cpu_seconds(self) -> float:
        if self.version == 1:
            return self._number("cpuacct", "cpuacct.usage") / 1e9
        return self._member("cpuacct", "cpu.stat", "usage_usec") / 1e6

    def _number(self, controller: str, name: str) -> int:
        text = self._text(controller, name).strip()
        return int(text) if text.isdigit() else 0

    def _member(self, controller: str, name: str, member: str) -> int:
        pairs = (line.split() for line in self._text(controller, name).splitlines())
        return next((int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] == member), 0)

    def _text(self, controller: str, name: str) -> str:
        folder = self.folders.get(controller)
        if folder is None:
            return ""
        try:
            return (folder / name).read_text()
        except OSError:
            return ""
