"""Where a part of this machine listens, and whom it serves there."""

import os
import socket
import stat
from pathlib import Path

import pytest

from mecapy_platform.sandbox.served_part import Told, may_ask, read_arguments
from support.platform.other_user import OUTSIDER


def test_its_own_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()  # as the part before it left one
    with Told(str(path), None, None, "{}").listen(os.geteuid()), socket.socket(socket.AF_UNIX) as caller:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        caller.connect(str(path))


def test_a_socket_that_was_handed_over_is_listened_on(tmp_path: Path) -> None:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / "s"))
    with Told(None, bound.detach(), None, "{}").listen(os.geteuid()), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(tmp_path / "s"))
        assert caller.getpeername() == str(tmp_path / "s")


def test_where_to_listen_must_be_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["part", "--config", "{}"])
    with pytest.raises(SystemExit):
        read_arguments("part")
    assert "--socket --fd" in capsys.readouterr().err


@pytest.mark.parametrize("owner", [os.geteuid(), OUTSIDER])
def test_its_owner_and_root_may_ask(owner: int) -> None:
    asking, asked = socket.socketpair()
    with asking, asked:
        assert may_ask(asked, owner) is (os.geteuid() in {owner, 0})


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_nobody_else_may_ask(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{tmp_path.name}-{os.getpid()}")  # no mode of a file stands before it
        listener.listen()
        pid = os.fork()
        if pid == 0:
            os.setresuid(OUTSIDER, OUTSIDER, OUTSIDER)
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(listener.getsockname())
                caller.recv(1)
            os._exit(0)
        connection, _address = listener.accept()
        with connection:
            assert not may_ask(connection, OUTSIDER - 1)
            assert may_ask(connection, OUTSIDER)
        os.waitpid(pid, 0)
