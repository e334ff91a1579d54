"""Who listens at a socket, told also when its children keep the socket for a moment longer."""

import os
import signal
import socket
from pathlib import Path

import pytest

from mecapy_platform.sandbox.peer import listener_pid


def test_a_listener_is_told_by_its_process(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert listener_pid(str(tmp_path / "s")) == os.getpid()


@pytest.mark.parametrize("is_reaped", [False, True])
def test_a_socket_that_only_children_of_its_listener_still_hold_is_nobody_s(tmp_path: Path, is_reaped: bool) -> None:
    address = str(tmp_path / "s")
    ready, say_ready = os.pipe()
    parent = os.fork()
    if parent == 0:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()
        child = os.fork()
        if child:
            os.write(say_ready, child.to_bytes(8, "little"))
        signal.pause()
    child = int.from_bytes(os.read(ready, 8), "little")
    try:
        assert listener_pid(address) == parent
        os.kill(parent, signal.SIGKILL)
        os.waitid(os.P_PID, parent, os.WEXITED | (0 if is_reaped else os.WNOWAIT))
        with pytest.raises(ConnectionRefusedError, match="has ended"):
            listener_pid(address)
    finally:
        os.kill(child, signal.SIGKILL)
        if not is_reaped:
            os.waitpid(parent, 0)
        os.close(ready)
        os.close(say_ready)
