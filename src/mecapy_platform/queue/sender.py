"""Sends hints. One is enough per lane until a worker has taken it; a broker that is away is noted and left alone."""

import logging
import secrets
import threading
from collections.abc import Iterable

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from mecapy_platform.core.lanes import Lane
from mecapy_platform.queue.celery_app import POKE, make_app

log = logging.getLogger(__name__)

# One round trip: set the flag, and only where it was not set, push the message.
HINT = "if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[2]) then redis.call('LPUSH', KEYS[2], ARGV[1]) end return 1"


class HintSender:
    """Callable with the lanes that have work. Never raises and never waits long: the sweep heals a hint that was lost."""

    def __init__(self, broker_url: str, *, hint_seconds: float) -> None:
        self._redis = connect(broker_url)
        self._app = make_app(broker_url)
        self._hint_ms = int(hint_seconds * 1000)
        self._message: bytes | None = None
        self._lock = threading.Lock()

    def __call__(self, lanes: Iterable[Lane]) -> None:
        try:
            message = self._message or self._take_message()
            for lane in lanes:
                self._redis.eval(HINT, 2, flag_key(lane), lane, message, self._hint_ms)
        except (RedisError, OSError) as error:
            log.warning("hint not sent, the sweep will see to it: %s", error)

    def close(self) -> None:
        self._redis.close()
        self._app.close()

    def _take_message(self) -> bytes:
        """Let Celery make its message once, in a queue nobody reads, and take it from there."""
        with self._lock:
            if self._message is None:
                scratch = f"mecapy-template-{secrets.token_hex(8)}"
                self._app.send_task(POKE, queue=scratch, expires=None, retry=False)
                raw = self._redis.lpop(scratch)
                assert isinstance(raw, bytes)
                self._message = raw
                self._redis.srem(f"_kombu.binding.{scratch}", *(self._redis.smembers(f"_kombu.binding.{scratch}") or [b""]))
            return self._message


def connect(broker_url: str) -> Redis:
    """A client that fails fast: hints are worth less than the caller's time."""
    return Redis.from_url(broker_url, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0), health_check_interval=5)


def flag_key(lane: Lane) -> str:
    return f"mecapy:hint:{lane}"
