"""Starts a part beside a process that has none running: for development, tests and `mecapy doctor`.

The part gets a listening socket in a new folder, and a pipe of ours: it ends when that closes, at the latest with us.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

WAITING_CONNECTIONS = 512
END_SECONDS = 20


@dataclass(frozen=True)
class LocalPart:
    """A part that this process started for itself. `address`: its socket, in `directory`."""

    process: "subprocess.Popen[bytes]"
    lifeline: int
    directory: str
    address: str

    @classmethod
    def launch(cls, name: str, argv: Sequence[str], config: Mapping[str, Any], *, user: int | None = None) -> Self:
        """Start `argv --fd N --lifeline N --config JSON`, as another uid where `user` is given, as root can ask.

        Of `config`, `directory` and `name` are filled in where they are there and empty: the folder, and its name.
        """
        directory = tempfile.mkdtemp(prefix="mecapy-")
        Path(directory).chmod(0o711)
        if user is not None:
            os.chown(directory, user, user)
        address = f"{directory}/{name}"
        own = {"directory": directory, "name": Path(directory).name}
        text = json.dumps({key: own[key] if value == "" and key in own else value for key, value in config.items()})
        life_read, life_write = os.pipe2(os.O_CLOEXEC)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(address)
            Path(address).chmod(0o600)
            listener.listen(WAITING_CONNECTIONS)
            process = subprocess.Popen(
                [*argv, "--fd", str(listener.fileno()), "--lifeline", str(life_read), "--config", text],
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
        """End it, and leave nothing of its folder."""
        with suppress(OSError):
            os.close(self.lifeline)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
