"""The other side of local_part: what a part of this machine is told when it is started, and where it listens."""

import argparse
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.sandbox.peer import peer_of

WAITING = 512  # connections that nobody has taken yet


@dataclass(frozen=True)
class Told:
    """`config`: JSON, as the part's own config.py reads it. The part stops when the lifeline's other end is gone."""

    path: str | None
    descriptor: int | None
    lifeline: int | None
    config: str

    def listen(self, owner_uid: int) -> socket.socket:
        """The socket that was handed over, or one of our own that only its owner (beside root) can connect to."""
        is_own = self.descriptor is None
        listener = _bind(str(self.path), owner_uid) if is_own else socket.socket(fileno=self.descriptor)
        listener.listen(WAITING)  # also where somebody else did: who connects is told by the kernel that it is us
        return listener


def read_arguments(program: str) -> Told:
    parser = argparse.ArgumentParser(prog=program)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", help="path of the socket to listen on; made with mode 0600 for the owner")
    where.add_argument("--fd", type=int, help="descriptor of a socket that listens already")
    parser.add_argument("--lifeline", type=int, help="descriptor whose end of file means: stop")
    parser.add_argument("--config", required=True, help="JSON, see config.py")
    arguments = parser.parse_args()
    return Told(arguments.socket, arguments.fd, arguments.lifeline, arguments.config)


def may_ask(connection: socket.socket, owner_uid: int) -> bool:
    """Its owner and root, whoever else reached the socket."""
    return peer_of(connection).uid in {owner_uid, 0}


def _bind(path: str, owner_uid: int) -> socket.socket:
    with suppress(FileNotFoundError):
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    listener.bind(path)
    os.umask(before)
    if os.geteuid() == 0:
        os.chown(path, owner_uid, -1)
    return listener
