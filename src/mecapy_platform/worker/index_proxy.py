"""The only way out of a building sandbox.

A proxy on a unix socket that connects to the package index's hosts and nowhere else.
"""

import json
import logging
import selectors
import socket
import threading
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.core.living import LivingThread

log = logging.getLogger(__name__)
HEAD_BYTES = 8192
IDLE_SECONDS = 120.0
PROBED_PROJECT = "pip"  # any project every index has: its page tells from which hosts files come


def index_hosts(index_url: str, *, timeout_seconds: float = 20.0) -> frozenset[str]:
    """The index's own host and those its file links lead to. Source: the JSON form of the simple API (PEP 691)."""
    own = urlsplit(index_url).hostname or ""
    request = urllib.request.Request(  # noqa: S310 - the operator's own setting
        f"{index_url.rstrip('/')}/{PROBED_PROJECT}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:  # noqa: S310 - as above
            files = json.load(answer)["files"]
    except (OSError, ValueError, KeyError) as error:
        raise UnavailableError(
            "index_unreachable", f"The package index does not answer: {error}. Try the deployment again later."
        ) from error
    return frozenset({own, *(host for file in files[:50] if (host := urlsplit(file["url"]).hostname))})


class IndexProxy:
    """HTTP CONNECT to allowed hosts, port 443.

    One thread accepts, one thread per connection copies bytes it cannot read.
    """

    def __init__(self, path: Path, hosts: frozenset[str]) -> None:
        self._hosts = hosts
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._path = path
        self._is_closed = False

    def __enter__(self) -> Self:
        LivingThread("index-proxy", self._accept).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                if self._is_closed:
                    return
                raise
            threading.Thread(target=self._serve, args=(inside,), name="index-proxy-connection", daemon=True).start()

    def _serve(self, inside: socket.socket) -> None:
        with inside:
            inside.settimeout(IDLE_SECONDS)
            try:
                host, port = self._wanted(inside)
                if host not in self._hosts or port != 443:
                    log.warning("a build asked for %s:%s and was refused", host, port)
                    inside.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                    return
                with socket.create_connection((host, port), timeout=20) as outside:
                    inside.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    _copy_both_ways(inside, outside)
            except (OSError, ValueError) as error:
                log.info("a build's connection ended: %s", error)

    @staticmethod
    def _wanted(inside: socket.socket) -> tuple[str, int]:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = inside.recv(1024)
            if not piece or len(head) > HEAD_BYTES:
                raise ValueError("no complete request head")
            head += piece
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
        if method != "CONNECT":
            raise ValueError(f"only CONNECT is served, not {method}")
        host, _, port = target.rpartition(":")
        return host.lower(), int(port)


def _copy_both_ways(left: socket.socket, right: socket.socket) -> None:
    other = {left: right, right: left}
    with selectors.DefaultSelector() as selector:
        for end in other:
            end.settimeout(IDLE_SECONDS)
            selector.register(end, selectors.EVENT_READ, end)
        while ready := selector.select(timeout=IDLE_SECONDS):
            for key, _ in ready:
                source: socket.socket = key.data
                data = source.recv(1 << 16)
                if not data:
                    return
                other[source].sendall(data)
