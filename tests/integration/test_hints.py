"""Hints over a real Valkey: by Celery to an idle worker, by a list to one that lingers.

None is lost on the step from one to the other.
"""

import threading
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from mecapy_platform.core.lanes import Lane
from mecapy_platform.embedded.valkey import Valkey
from mecapy_platform.queue.linger import LingerBell
from mecapy_platform.queue.sender import THREAD, HintSender, flag_key, linger_key, list_key
from support.platform.services import valkey

LANE = Lane.DEFAULT
LONG = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as running:
        yield running


@pytest.fixture
def broker(server: Valkey) -> Iterator[Redis]:
    with Redis.from_url(server.url) as opened:
        opened.flushall()
        yield opened


@pytest.fixture
def sender(server: Valkey, broker: Redis) -> Iterator[HintSender]:
    opened = HintSender(server.url, hint_seconds=5)
    yield opened
    opened.close()


@pytest.fixture
def bell(server: Valkey, broker: Redis) -> Iterator[LingerBell]:
    opened = LingerBell(server.url, LANE, lambda _error: None)
    yield opened
    opened.close()


def until(broker: Redis, key: str) -> None:
    deadline = time.monotonic() + LONG
    while not broker.exists(key):
        assert time.monotonic() < deadline, key


def waiting(bell: LingerBell, *, lingers: bool = True) -> tuple[threading.Thread, list[bool]]:
    heard: list[bool] = []
    thread = threading.Thread(target=lambda: heard.append(bell.wait(LONG, lingers=lingers)))
    thread.start()
    return thread, heard


def test_an_idle_lane_gets_one_message_by_celery_however_often_it_is_hinted(broker: Redis, sender: HintSender) -> None:
    for _ in range(3):
        sender.quickly([LANE])
    until(broker, LANE)
    assert (broker.llen(LANE), broker.exists(flag_key(LANE)), broker.llen(list_key(LANE))) == (1, 1, 0)


def test_a_lingering_worker_is_woken_without_celery(broker: Redis, sender: HintSender, bell: LingerBell) -> None:
    thread, heard = waiting(bell)
    until(broker, linger_key(LANE))
    sender.quickly([LANE])
    thread.join(LONG)
    assert (heard, broker.llen(LANE), broker.exists(flag_key(LANE))) == ([True], 0, 0)


def test_a_hint_that_lay_there_before_is_heard_at_once(broker: Redis, bell: LingerBell) -> None:
    broker.lpush(list_key(LANE), "1")
    began = time.monotonic()
    assert bell.wait(LONG, lingers=True)
    assert time.monotonic() - began < LONG / 2


def test_a_hint_while_nobody_waits_is_heard_by_the_next_wait(
    broker: Redis, sender: HintSender, bell: LingerBell
) -> None:
    bell.ring()
    assert not bell.wait(LONG, lingers=True), "it was rung from here, not hinted"
    sender.quickly([LANE])
    assert bell.wait(LONG, lingers=True)


def test_a_worker_that_stops_lingering_looks_once_more_and_leaves_hints_to_celery(
    broker: Redis, sender: HintSender, bell: LingerBell
) -> None:
    bell.ring()
    bell.wait(LONG, lingers=True)
    assert broker.exists(linger_key(LANE))
    assert bell.wait(LONG, lingers=False), "what came between the last look and now would be lost"
    assert not broker.exists(linger_key(LANE))
    sender.quickly([LANE])
    until(broker, LANE)


def test_a_worker_that_died_lingering_holds_hints_up_for_seconds_only(broker: Redis, bell: LingerBell) -> None:
    bell.ring()
    bell.wait(LONG, lingers=True)
    assert 0 < broker.pttl(linger_key(LANE)) <= 2500


def test_what_is_passed_on_goes_by_celery_past_the_one_that_lingers(
    broker: Redis, sender: HintSender, bell: LingerBell
) -> None:
    thread, heard = waiting(bell)
    until(broker, linger_key(LANE))
    sender([LANE])
    until(broker, LANE)
    assert heard == []
    bell.ring()
    thread.join(LONG)
    assert heard == [False]


def test_a_broker_that_was_restarted_is_found_again_by_both_sides() -> None:
    with valkey() as server:
        sender, bell = HintSender(server.url, hint_seconds=5), LingerBell(server.url, LANE, lambda _error: None)
        sender.quickly([LANE])
        for thread in threading.enumerate():
            if thread.name == THREAD:
                thread.join(LONG)  # the first hint needs a connection, which a thread makes
        bell.ring()
        bell.wait(LONG, lingers=True)
        server.stop()
        sender.quickly([LANE])
        assert not bell.wait(0.5, lingers=True)
        server.start()
        with Redis.from_url(server.url) as broker:
            broker.flushall()
            deadline = time.monotonic() + LONG
            while not broker.llen(LANE):
                sender.quickly([LANE])
                assert time.monotonic() < deadline
            while not broker.exists(linger_key(LANE)):
                bell.ring()
                bell.wait(0.1, lingers=True)
                assert time.monotonic() < deadline
        sender.close()
        bell.close()
