"""`mecapy up`: one process tree for one machine.

Starts the parts in order, watches them, ends them in the reverse order.
"""

import gc
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mecapy_platform.core.errors import ConfigurationError, UnavailableError
from mecapy_platform.embedded import content, interpreters, secrets, spawner
from mecapy_platform.embedded.companions import companion_parts
from mecapy_platform.embedded.environment import hide_secrets
from mecapy_platform.embedded.layout import Layout
from mecapy_platform.embedded.lock import DataLock
from mecapy_platform.embedded.machine import Machine, prepare_machine
from mecapy_platform.embedded.parts import Child, Fork, Part, Surroundings
from mecapy_platform.embedded.postgres import Postgres, PostgresPlace
from mecapy_platform.embedded.process import start_program, tail
from mecapy_platform.embedded.program import LANES, Program, embedded_settings, part_settings
from mecapy_platform.embedded.supervisor import Supervisor
from mecapy_platform.embedded.users import CLOSED_UMASK, User
from mecapy_platform.embedded.valkey import Valkey, ValkeyPlace
from mecapy_platform.settings import Settings

DEFAULT_PORT = 8000
READY_SECONDS = 75.0
DRAIN_EXTRA_SECONDS = 5.0
TERM = signal.SIGTERM


@dataclass(frozen=True)
class Options:
    data: Path
    host: str = "127.0.0.1"
    port: int | None = None
    ready_file: Path | None = None


class Launcher:
    """`load` imports the program (late: the services start meanwhile); `say` writes one line to the console."""

    def __init__(self, options: Options, load: Callable[[], Program], say: Callable[[str], None]) -> None:
        self._options = options
        self._load = load
        self._say = say
        self._layout = Layout(options.data.resolve())
        self._supervisor = Supervisor(say, self._write_ready)
        self._ready: content.Ready | None = None

    def run(self, greet: Callable[[content.Ready], None]) -> None:
        """Start everything, greet, and stay until told to stop."""
        with ExitStack() as stack:
            self._supervisor.block_signals()
            stack.callback(os.umask, os.umask(CLOSED_UMASK))
            hide_secrets()
            stack.callback(signal.pthread_sigmask, signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
            lock = self._take_directory(stack)
            machine = prepare_machine(self._layout)
            stack.callback(machine.close)
            listener = stack.enter_context(self._listen(machine.secrets.url))
            machine = self._with_address(machine, listener, lock)
            stack.callback(self._forget_ready)
            stack.callback(self._end)
            program, settings = self._start_services(machine)
            if not self._start_program(program, machine, settings, listener, lock):
                return
            greet(self._announce(machine))
            self._supervisor.watch()

    def _take_directory(self, stack: ExitStack) -> DataLock:
        try:
            self._layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = DataLock.take(self._layout.lock)
        except OSError as error:
            raise ConfigurationError(
                "data_directory",
                f"The data directory {self._layout.root} cannot be used: {error.strerror}. Choose another one with "
                f"--data DIR.",
            ) from error
        stack.callback(lock.release)
        self._forget_ready()
        return lock

    def _listen(self, last_url: str) -> socket.socket:
        """The socket of the API, held by us, so that callers wait in its queue while the API is started again."""
        host, port = self._options.host, self._options.port
        preferred = DEFAULT_PORT
        if last_url and last_url.rpartition(":")[2].isdigit():
            preferred = int(last_url.rpartition(":")[2])
        for candidate in (port,) if port is not None else range(preferred, preferred + 100):
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, candidate))
                listener.listen(1024)
            except OSError as error:
                listener.close()
                if port is not None:
                    raise ConfigurationError(
                        "port_in_use",
                        f"Cannot listen on {host} port {port}: {error.strerror}. Choose another with --port N.",
                    ) from error
                continue
            if port is None and candidate != preferred:
                self._say(f"port {preferred} is taken, using {listener.getsockname()[1]}")
            return listener
        raise ConfigurationError(
            "port_in_use", f"No free port from {preferred} to {preferred + 99} on {host}. Name one with --port N."
        )

    def _with_address(self, machine: Machine, listener: socket.socket, lock: DataLock) -> Machine:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._options.host, self._options.host)  # noqa: S104 - compared, not bound
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        url = f"http://{host}:{listener.getsockname()[1]}"
        values = replace(machine.secrets, url=url)
        secrets.store(self._layout, values)
        lock.note(url)
        return replace(machine, secrets=values)

    def _start_services(self, machine: Machine) -> tuple[Program, Settings]:
        """Spawner first; the platform is imported while PostgreSQL's cluster is made."""
        layout, users = self._layout, machine.users
        enter = machine.enter
        self._start("spawner", partial(self._start_spawner, machine), ((TERM, 10.0),))
        database = PostgresPlace(layout.postgres, layout.postgres_run, layout.log("postgresql"), users.database, enter)
        postgres = Postgres(database, machine.secrets.passwords)
        postgres.begin_initialise()
        try:
            program = self._import_program()
        finally:
            postgres.end_initialise()
        self._start(
            "postgresql", partial(_started, postgres), ((TERM, 1.0), (signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))
        )
        postgres.ensure_roles()
        place = ValkeyPlace(layout.valkey, layout.log("valkey"), users.database, enter, layout.valkey_run)
        valkey = Valkey(place, machine.secrets.valkey)
        self._start("valkey", partial(_started, valkey), ((TERM, 10.0),))
        return program, embedded_settings(layout, machine.secrets, postgres, valkey)

    def _import_program(self) -> Program:
        gc.disable()  # nothing of an import is garbage
        try:
            return self._load()
        finally:
            gc.enable()

    def _start_spawner(self, machine: Machine) -> Child:
        return self._start_argv(machine, "spawner", spawner.command(self._layout, machine.users, machine.interpreters))

    def _start_argv(self, machine: Machine, name: str, argv: Sequence[str]) -> Child:
        return start_program(list(argv), log=self._layout.log(name), before=machine.enter)

    def _start_program(
        self, program: Program, machine: Machine, settings: Settings, listener: socket.socket, lock: DataLock
    ) -> bool:
        """Everything that forks from us, with its imports done once. False: we were asked to stop meanwhile."""
        os.environ[interpreters.FOUND_VARIABLE] = os.pathsep.join(
            str(interpreter.executable) for interpreter in machine.interpreters
        )
        private = (lock.descriptor, *(() if machine.users.lock is None else (machine.users.lock,)))

        def fork(name: str, work: Callable[[], None], *also_close: int, user: User = machine.users.service) -> Child:
            around = Surroundings(
                self._layout.log(name), user, self._layout.home, machine.enter, (*private, *also_close)
            )
            return Fork.start(work, around)

        hidden = listener.fileno()
        if not self._finish(
            "migrate", fork("migrate", partial(program.migrate, part_settings("migrate", settings)), hidden)
        ):
            return False
        grace = settings.grace_seconds + DRAIN_EXTRA_SECONDS
        own = partial(part_settings, settings=settings)
        self._start("api", partial(fork, "api", partial(program.run_api, own("api"), listener)), ((TERM, 10.0),))
        self._start("relay", partial(fork, "relay", partial(program.run_relay, own("relay")), hidden), ((TERM, 10.0),))
        owner = machine.users.service.uid
        companions, worker_settings = companion_parts(own("worker"), self._layout, owner, machine.interpreters)
        for companion in companions:
            self._start(
                companion.name, partial(self._start_argv, machine, companion.name, companion.argv), ((TERM, 10.0),)
            )
        for lane in LANES:
            name = f"worker-{lane}"
            self._start(
                name,
                partial(fork, name, partial(program.run_worker, worker_settings, (lane,)), hidden),
                ((TERM, grace),),
            )
        return self._finish("ready", fork("ready", partial(program.wait_ready, own("ready")), hidden))

    def _finish(self, name: str, child: Child) -> bool:
        """Wait for a short-lived child while looking after the others."""
        try:
            if not self._supervisor.watch(until=lambda: child.poll() is not None, seconds=READY_SECONDS):
                return False
            if child.returncode != 0:
                log = self._layout.log(name)
                raise UnavailableError(
                    "start_failed", f"The step {name!r} of the start failed. Its log {log} ends with:\n{tail(log)}"
                )
        except TimeoutError as error:
            logs = self._layout.root / "logs"
            raise UnavailableError(
                "start_slow", f"The platform does not answer after {READY_SECONDS:.0f} s. The logs are in {logs}."
            ) from error
        finally:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGKILL)
        return True

    def _start(self, name: str, start: Callable[[], Child], stop: tuple[tuple[signal.Signals, float], ...]) -> None:
        self._supervisor.start(Part(name, start, stop))

    def _announce(self, machine: Machine) -> content.Ready:
        person = content.first_person()
        token = content.token(self._layout, person)
        self._ready = content.Ready(machine.secrets.url, token, content.ORGANIZATION, str(self._layout.root), {})
        self._write_ready()
        return self._ready

    def _write_ready(self) -> None:
        """After the start and after each restart, so that the pids in the file are those that live."""
        if self._ready is None:
            return
        parts = {"launcher": [os.getpid()], **{part.name: part.pids for part in self._supervisor.parts}}
        self._ready = replace(self._ready, parts=parts)
        for path in filter(None, (self._layout.connection, self._options.ready_file)):
            try:
                self._ready.write(path)
            except OSError as error:  # a full disk must not end what watches over the database on it
                self._say(f"{path} is not up to date: {error.strerror}")

    def _forget_ready(self) -> None:
        """A file of an earlier start must not lie."""
        self._layout.connection.unlink(missing_ok=True)
        if self._options.ready_file is not None:
            self._options.ready_file.unlink(missing_ok=True)

    def _end(self) -> None:
        if self._supervisor.parts:
            self._say("stopping: running calculations get their grace period")
        self._supervisor.stop()
        self._say("stopped")


def _started(server: Postgres | Valkey) -> Child:
    server.start()
    return server.child
