"""The broker's main loop: one request a connection, each in a thread of its own, for one user of this machine."""

import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from mecapy_platform.core.errors import InvalidInputError, MecapyError, OutageError, SandboxError
from mecapy_platform.core.living import LivingThread
from mecapy_platform.sandbox.docker.broker.config import BrokerConfig, refused
from mecapy_platform.sandbox.docker.broker.verbs import Request, Verbs
from mecapy_platform.sandbox.docker.wire import receive_request, send
from mecapy_platform.sandbox.served_part import may_ask, read_arguments

log = logging.getLogger(__name__)
AT_ONCE = 128
REQUEST_SECONDS = 10.0
COLLECT_SECONDS = 3600.0
KINDS: dict[type[MecapyError], str] = {
    OutageError: "outage",
    SandboxError: "sandbox",
    InvalidInputError: "input",
}


def main() -> None:
    """Serve until told to stop (SIGTERM), or until the lifeline's other end is gone."""
    told = read_arguments("broker")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    config = BrokerConfig.from_json(told.config)
    Server(config, told.listen(config.owner_uid), told.lifeline).serve()


class Server:
    """Containers outlive it: what a request began and did not end, the next broker finds by its labels."""

    def __init__(self, config: BrokerConfig, listener: socket.socket, lifeline: int | None) -> None:
        self._config = config
        self._listener = listener
        self._lifeline = lifeline
        self._verbs = Verbs(config)
        self._over = threading.Event()
        self._room = threading.BoundedSemaphore(AT_ONCE)

    def serve(self) -> None:
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        LivingThread("image-collector", self._collect).start()
        waiter = select.poll()
        for fd in (wake_read, self._listener.fileno(), *(() if self._lifeline is None else (self._lifeline,))):
            waiter.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _event in waiter.poll()}
            if wake_read in ready or self._lifeline in ready:
                return
            connection, _address = self._listener.accept()
            self._room.acquire()  # noqa: SIM115, RUF100 - given back by the thread
            threading.Thread(target=self._serve_connection, args=(connection,), daemon=True).start()

    def _collect(self) -> None:
        while not self._over.wait(COLLECT_SECONDS):
            with suppress(SandboxError):  # the daemon is away; the next hour will do
                self._verbs.collect_images()

    def _serve_connection(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(REQUEST_SECONDS)
                if not may_ask(connection, self._config.owner_uid):
                    return
                self._answer(connection)
        except OSError as error:
            log.info("a connection ended early: %s", error)
        finally:
            self._room.release()

    def _answer(self, connection: socket.socket) -> None:
        descriptor = None
        try:
            message, descriptor = receive_request(connection)
            verb = message.pop("verb", None)
            work: Callable[[Request], object] | None = self._verbs.table.get(verb) if isinstance(verb, str) else None
            if work is None:
                raise refused(f"there is no verb {verb!r}")  # noqa: TRY301

            def say(line: str) -> None:
                send(connection, {"say": line})

            send(connection, {"done": work(Request(message, descriptor, say))})
        except ValueError as error:
            _send_error(connection, refused(str(error)))
        except MecapyError as error:
            _send_error(connection, error)
        except OSError:
            raise
        except Exception as error:
            log.exception("a request met an error nobody thought of")
            _send_error(connection, refused(f"it met an error nobody thought of: {type(error).__name__}"))
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _send_error(connection: socket.socket, error: MecapyError) -> None:
    kind = next((name for base, name in KINDS.items() if isinstance(error, base)), "sandbox")
    send(connection, {"error": {"kind": kind, "code": error.code, "message": error.message}})
