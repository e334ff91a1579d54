"""Builds each process of the platform from settings: the one place where parts meet.

Called by `mecapy up` and `mecapy server ..`.
"""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType

import structlog
import uvicorn
from redis.exceptions import RedisError
from sqlalchemy import text

from mecapy_platform.api.app import ApiContext, create_app
from mecapy_platform.api.connections import bounded
from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.errors import ConfigurationError, UnavailableError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.schema import migrate as migrate_schema
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.embedded import interpreters, programs
from mecapy_platform.events.doorbell import Doorbell
from mecapy_platform.queue.relay import Relay
from mecapy_platform.queue.sender import HintSender, connect
from mecapy_platform.sandbox.backends import BackendKind, Backends
from mecapy_platform.sandbox.registry import DECLARED
from mecapy_platform.services.backends import chosen, given
from mecapy_platform.services.checks import effective
from mecapy_platform.services.claims import Worker
from mecapy_platform.services.places import known_places
from mecapy_platform.settings import Settings
from mecapy_platform.storage.filesystem import FilesystemStorage
from mecapy_platform.worker import main as worker_main
from mecapy_platform.worker.adopter import process_name
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.fault_points import make_probe
from mecapy_platform.worker.fetch_process import FetchLimits
from mecapy_platform.worker.fetcher import make_fetcher
from mecapy_platform.worker.judging import Judge
from mecapy_platform.worker.work_folder import WorkFolder, remove_leftovers

log = logging.getLogger(__name__)
READY_SECONDS = 60.0


def migrate(settings: Settings) -> None:
    if not settings.database_owner_url:
        raise ConfigurationError(
            "owner_url_missing", "Set MECAPY_DATABASE_OWNER_URL to the address of the schema's owner."
        )
    migrate_schema(settings.database_owner_url)


def run_api(settings: Settings, listener: socket.socket) -> None:
    """Serve HTTP on a socket that is already bound, until SIGTERM."""
    configure_logging()
    effective(settings.checks, {})  # a policy that cannot be read is said now
    database = Database(make_engine(settings.database_url, pool_size=20))
    sender = HintSender(settings.broker_url, hint_seconds=settings.hint_seconds)
    doorbell = Doorbell(settings.database_url)
    storage = make_storage(settings)
    probe = make_probe(settings.fault_probe)

    def hints(*lanes: str) -> None:
        probe("committed", None)
        sender.quickly([Lane(lane) for lane in lanes] or list(Lane))

    context = ApiContext(
        settings=settings,
        database=database,
        storage=storage,
        doorbell=doorbell,
        hints=hints,
        checks={**make_checks(settings, database), "storage": storage.check_room},
    )
    config = uvicorn.Config(
        create_app(context),
        log_config=None,
        access_log=False,
        loop="uvloop",
        http=bounded(settings.head_seconds),  # type: ignore[arg-type]  # it is called, whatever it is
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
        server_header=False,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        sender.close()
        database.dispose()


def run_relay(settings: Settings) -> None:
    configure_logging()
    database = Database(make_engine(settings.database_worker_url, pool_size=6))  # a thread for each kind of duty
    sender = HintSender(settings.broker_url, hint_seconds=settings.hint_seconds)
    relay = Relay(database, make_storage(settings), sender, settings)
    on_stop(relay.stop.set)
    try:
        relay.run()
    finally:
        sender.close()
        database.dispose()


def run_worker(settings: Settings, lanes: Sequence[str]) -> None:
    configure_logging()
    chosen = [Lane(lane) for lane in lanes]
    worker_main.serve(make_worker_context(settings, chosen), chosen)


def make_worker_context(
    settings: Settings, lanes: Sequence[Lane], kinds: Mapping[str, BackendKind] = DECLARED
) -> WorkerContext:
    backends = chosen(settings, kinds)
    effective(settings.checks, {})  # as above
    slots = sum(settings.slots.values())
    node = _node_name(settings, backends, lanes)
    sandboxes = {kind.name: kind.make(given(settings, kind, node)) for kind in backends.used(lanes)}
    by_lane = {lane: sandboxes[backends.of_lane(lane).name] for lane in lanes}
    cache = settings.data_dir / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    remove_leftovers(settings.data_dir / "work")
    work = WorkFolder.make(settings.data_dir / "work")
    return WorkerContext(
        settings=settings,
        database=Database(make_engine(settings.database_worker_url, pool_size=min(slots + 4, 20))),
        storage=make_storage(settings),
        sandbox=by_lane[lanes[0]],
        lane_sandboxes={str(lane): sandbox for lane, sandbox in by_lane.items()},
        containers=(containers := None if backends.images is None else sandboxes[backends.images.name]),
        images=getattr(containers, "images", None),
        send=HintSender(settings.broker_url, hint_seconds=settings.hint_seconds),
        worker=Worker(node, process_name(node), backends.of_lane(lanes[0]).name),
        work_dir=work.path,
        cache_dir=cache,
        interpreters=interpreters.find(),
        fetcher=make_fetcher(
            cache / "uv",
            settings.package_index_url,
            FetchLimits(settings.build_timeout_seconds, settings.environment_bytes, settings.spawner_socket),
            programs.bwrap(),
        ),
        probe=make_probe(settings.fault_probe),
        judge=Judge(Bounds(settings.judge_seconds, settings.judge_memory_mb << 20)),
    )


def _node_name(settings: Settings, backends: Backends, lanes: Sequence[Lane]) -> str:
    """Whose room the tasks of this process use: this machine's, or that of the machines behind a backend."""
    name = settings.worker_name or socket.gethostname()
    elsewhere = {kind.name for kind in map(backends.of_lane, lanes) if not kind.capabilities.is_node_bound}
    if not elsewhere:
        return name
    if len({backends.of_lane(lane).name for lane in lanes}) > 1:
        raise ConfigurationError(
            "mixed_backends",
            f"One worker process cannot serve {', '.join(lanes)}: {', '.join(sorted(elsewhere))} has machines of its "
            "own. Start a process for each lane.",
        )
    return f"{name}-{elsewhere.pop()}"


def make_storage(settings: Settings) -> FilesystemStorage:
    return FilesystemStorage(
        settings.data_dir / "storage",
        base_url=settings.public_url,
        secret=settings.signing_secret.get_secret_value(),
        floor_bytes=settings.disk_floor_bytes,
    )


def make_checks(settings: Settings, database: Database, *, tells_why: bool = False) -> dict[str, Callable[[], None]]:
    """What `/ready` asks: each raises when its part does not answer. `tells_why`: for the operator alone."""
    broker = connect(settings.broker_url)

    def database_answers() -> None:
        with database.transaction() as session:
            session.execute(text("SELECT 1"))

    def broker_answers() -> None:
        try:
            broker.ping()
        except RedisError as error:
            raise UnavailableError("broker_unreachable", "The broker does not answer.") from error

    def worker_seen() -> None:
        with database.transaction() as session:
            places = known_places(session)
        if not places:
            raise UnavailableError("no_worker", "No worker has been seen for a minute.")
        refusing = sum(place.refusal is not None for place in places)
        if refusing == len(places):  # anybody may ask: why is said in the workers' rows, in their log and by doctor
            why = " ".join(dict.fromkeys(str(place.refusal) for place in places)) if tells_why else ""
            raise UnavailableError("workers_refuse", f"None of {refusing} workers takes work just now. {why}".strip())

    return {"database": database_answers, "broker": broker_answers, "workers": worker_seen}


def wait_ready(settings: Settings) -> None:
    """Return once every part answers; raise what is missing after a minute."""
    database = Database(make_engine(settings.database_url, pool_size=1))
    checks = make_checks(settings, database, tells_why=True)
    deadline = time.monotonic() + READY_SECONDS
    missing: Exception | None = None
    try:
        while time.monotonic() < deadline:
            missing = first_failure(checks.values())
            if missing is None:
                return
            time.sleep(0.05)
    finally:
        database.dispose()
    raise UnavailableError("not_ready", f"The platform did not become ready: {missing}")


def first_failure(checks: Iterable[Callable[[], None]]) -> Exception | None:
    for check in checks:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - any failure means: not ready yet
            return error
    return None


def on_stop(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT."""

    def handle(_signal: int, _frame: FrameType | None) -> None:
        threading.Thread(target=stop, daemon=True).start()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def configure_logging() -> None:
    """One JSON object per line on standard error, from structlog and from every library."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
