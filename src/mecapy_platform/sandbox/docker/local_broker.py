"""A broker of this process's own, for who has none running: development, tests, `mecapy doctor`.

With the same uid it separates nothing.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mecapy_platform.sandbox.docker.broker.config import BrokerConfig

MODULE = "mecapy_platform.sandbox.docker.broker"


@dataclass(frozen=True)
class LocalBroker:
    """A broker that this process started for itself; it ends when `lifeline` is closed, at the latest with us."""

    process: "subprocess.Popen[bytes]"
    lifeline: int
    directory: str
    address: str

    @classmethod
    def start(cls, config: BrokerConfig) -> "LocalBroker":
        directory = tempfile.mkdtemp(prefix="mecapy-")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = f"{directory}/broker"
        listener.bind(address)
        Path(address).chmod(0o600)
        listener.listen(512)
        life_read, life_write = os.pipe2(os.O_CLOEXEC)
        argv = [sys.executable, "-I", "-m", MODULE, "--fd", str(listener.fileno()), "--lifeline", str(life_read)]
        with listener:
            process = subprocess.Popen(
                [*argv, "--config", json.dumps(asdict(config))],
                pass_fds=(listener.fileno(), life_read),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
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
