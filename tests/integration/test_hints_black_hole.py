"""A broker that takes connections and never answers holds up nobody who sends it a hint."""

import socket
import threading
from collections.abc import Iterator

import pytest

from mecapy_platform.core.lanes import Lane
from mecapy_platform.queue.sender import RETRY_MAX_SECONDS, THREAD, HintSender
from support.platform.services import valkey


@pytest.fixture
def hole() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        yield listener


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def test_a_hint_to_a_broker_that_never_answers_waits_in_a_thread_and_then_not_at_all(hole: socket.socket) -> None:
    sender = HintSender(f"redis://:secret@127.0.0.1:{hole.getsockname()[1]}/0", hint_seconds=5)
    sender.quickly([Lane.DEFAULT])
    connecting = threads()
    assert len(connecting) == 1, "the caller came back while the broker was still being waited for"
    for _ in range(1000):
        sender.quickly(list(Lane))
    assert threads() == connecting, "the hints of all callers wait in the same thread"
    connecting[0].join(60)
    assert not connecting[0].is_alive()
    sender.quickly([Lane.DEFAULT])
    assert threads() == [], "while the broker is away, no hint is tried"
    sender.close()


def test_a_broker_that_stops_reading_is_given_up_without_waiting() -> None:
    with valkey() as server:
        sender = HintSender(server.url, hint_seconds=5)
        sender.quickly([Lane.DEFAULT])
        for thread in threads():
            thread.join(60)
        server.child.send_signal(19)  # SIGSTOP
        try:
            for _ in range(200_000):
                sender.quickly([Lane.DEFAULT])
                if sender.is_paused:
                    break
            assert sender.is_paused
            assert threads() == []
        finally:
            server.child.send_signal(18)  # SIGCONT
        deadline = threading.Event()
        for _ in range(int(10 * RETRY_MAX_SECONDS / 0.1)):
            sender.quickly([Lane.DEFAULT])
            if not sender.is_paused and not threads():
                break
            deadline.wait(0.1)
        assert not sender.is_paused
        sender.close()
