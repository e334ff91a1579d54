"""Sends hints. One is enough per lane until a worker has taken it; a broker that is away is noted and left alone."""

import logging
import secrets
import threading
import time
from collections.abc import Iterable

from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from mecapy_platform.core.lanes import Lane
from mecapy_platform.queue.celery_app import POKE, make_app
from mecapy_platform.queue.resp import Resp, command

log = logging.getLogger(__name__)
RETRY_SECONDS = 0.5  # after a broker that did not answer, nobody is held up by it for so long; each time twice as long
RETRY_MAX_SECONDS = 4.0
THREAD = "mecapy-hints"

# One message: where a worker lingers, into its list, which it empties before it looks; else set the flag, and only
# where it was not set, push Celery's message. The flag is cleared before a worker looks.
HINT = """
if ARGV[3] == '0' and redis.call('EXISTS', KEYS[3]) == 1 then
  if redis.call('LLEN', KEYS[4]) == 0 then redis.call('LPUSH', KEYS[4], '1') end
elseif redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[2]) then
  redis.call('LPUSH', KEYS[2], ARGV[1])
end
"""


class HintSender:
    """Callable with the lanes that have work. Never raises and never waits long: the sweep heals a hint that was lost.

    No answer is awaited: the connection is told to send none, so whatever there is to read on it is its end.
    """

    def __init__(self, broker_url: str, *, hint_seconds: float) -> None:
        self._url = broker_url
        self._redis = connect(broker_url)
        self._app = make_app(broker_url)
        self._hint_ms = int(hint_seconds * 1000)
        self._connection: Resp | None = None
        self._hints: dict[tuple[Lane, bool], bytes] = {}
        self._message: bytes | None = None
        self._retry_at = 0.0
        self._retry_seconds = RETRY_SECONDS
        self._lock = threading.Lock()
        self._waiting: set[Lane] = set()  # hints for the thread, which is there while there are any
        self._has_thread = False
        self._waiting_lock = threading.Lock()

    def __call__(self, lanes: Iterable[Lane]) -> None:
        """By Celery, also where a worker lingers, for it may be the one that has no room."""
        self._send(lanes, by_celery=True)

    def quickly(self, lanes: Iterable[Lane]) -> None:
        """To a worker that lingers; by Celery where none does. For work that is new.

        Made for an event loop: what cannot be handed to the kernel at once is sent by a thread.
        """
        wanted = tuple(lanes)
        if self._lock.acquire(blocking=False):
            try:
                if self._is_done_at_once(wanted):
                    return
            finally:
                self._lock.release()
        with self._waiting_lock:
            self._waiting.update(wanted)
            if self._has_thread:
                return
            self._has_thread = True
        threading.Thread(target=self._send_waiting, name=THREAD, daemon=True).start()

    def _is_done_at_once(self, lanes: Iterable[Lane]) -> bool:
        """False where a connection or a message must be made first. While the broker is away, nothing is to be done."""
        if self.is_paused:
            return True
        hints = [self._hints.get((lane, False)) for lane in lanes]
        if self._connection is None or self._connection.is_over or None in hints:
            return False
        try:
            self._connection.send_at_once(b"".join(hint for hint in hints if hint is not None))
        except OSError as error:
            self._give_up(error)
        return True

    def _send_waiting(self) -> None:
        while True:
            with self._waiting_lock:
                lanes, self._waiting = self._waiting, set()
                if not lanes:
                    self._has_thread = False
                    return
            try:
                self._send(lanes, by_celery=False)
            except Exception:  # the next hint must find nobody who only seems to be at work
                log.exception("hints for %s were not sent, the sweep will see to them", sorted(lanes))

    def _send(self, lanes: Iterable[Lane], *, by_celery: bool) -> None:
        with self._lock:
            if time.monotonic() < self._retry_at:
                return
            try:
                hints = b"".join(self._hint(lane, by_celery) for lane in lanes)
                self._connected().send(hints)
                self._retry_seconds = RETRY_SECONDS
            except (RedisError, OperationalError, OSError) as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._forget()
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(RETRY_MAX_SECONDS, 2 * self._retry_seconds)
        log.warning("hint not sent, the sweep will see to it: %s", error)

    def _connected(self) -> Resp:
        if self._connection is not None and self._connection.is_over:
            self._forget()
        if self._connection is None:
            self._connection = Resp(self._url)
            self._connection.send(command("CLIENT", "REPLY", "OFF"))
        return self._connection

    def _hint(self, lane: Lane, by_celery: bool) -> bytes:
        found = self._hints.get((lane, by_celery))
        if found is None:
            message = self._message or self._take_message()
            keys = (flag_key(lane), lane, linger_key(lane), list_key(lane))
            found = command("EVAL", HINT, 4, *keys, message, self._hint_ms, int(by_celery))
            self._hints[lane, by_celery] = found
        return found

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    @property
    def is_paused(self) -> bool:
        """Whether the broker is left alone for a while."""
        return time.monotonic() < self._retry_at

    def close(self) -> None:
        with self._lock:
            self._forget()
        self._redis.close()
        self._app.close()

    def _take_message(self) -> bytes:
        """Let Celery make its message once, in a queue nobody reads, and take it from there."""
        scratch = f"mecapy-template-{secrets.token_hex(8)}"
        self._app.send_task(POKE, queue=scratch, expires=None, retry=False)
        raw = self._redis.lpop(scratch)
        assert isinstance(raw, bytes)
        self._message = raw
        self._redis.srem(f"_kombu.binding.{scratch}", *(self._redis.smembers(f"_kombu.binding.{scratch}") or [b""]))
        return raw


def connect(broker_url: str) -> Redis:
    """A client that fails fast: hints are worth less than the caller's time."""
    return Redis.from_url(
        broker_url, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0), health_check_interval=5
    )


def flag_key(lane: Lane) -> str:
    return f"mecapy:hint:{lane}"


def linger_key(lane: Lane) -> str:
    """Lives while a worker listens to the lane's list."""
    return f"mecapy:linger:{lane}"


def list_key(lane: Lane) -> str:
    return f"mecapy:poke:{lane}"
