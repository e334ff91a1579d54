"""Waits for an end without holding a thread or a database session."""

import time
from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from mecapy_platform.events.doorbell import Doorbell

FIRST_LOOK_SECONDS = 1.0
LAST_LOOK_SECONDS = 5.0
Value = TypeVar("Value")


async def wait_until(
    doorbell: Doorbell, key: str, seconds: float, read: Callable[[], Value], is_done: Callable[[Value], bool]
) -> Value:
    """Read now, whenever the bell rings, and now and then all the same; return what was read last."""
    deadline = time.monotonic() + seconds
    look_seconds = FIRST_LOOK_SECONDS
    with doorbell.listening(key) as ring:
        value = await run_in_threadpool(read)
        while not is_done(value) and (left := deadline - time.monotonic()) > 0:
            await ring.wait(min(left, look_seconds))
            look_seconds = min(LAST_LOOK_SECONDS, look_seconds * 1.5)
            value = await run_in_threadpool(read)
    return value
