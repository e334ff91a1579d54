"""Calls that share a worker end in time, whatever becomes of the stem that serves them."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mecapy_platform.sandbox.base import EndReason, Environment, Limits, SandboxSpec, SharedCall, SharedEnd, StopReason
from mecapy_platform.sandbox.bubblewrap.shared_channel import SharedSlot
from mecapy_platform.sandbox.bubblewrap.zygote import Ends, Function, Key, Slot, Zygote
from mecapy_platform.sandbox.output_streams import Streams

LIMITS = Limits(cpu=1, memory_mb=256, timeout_seconds=30, disk_bytes=1 << 20, grace_seconds=0.1)
MOST_TICKS = 40  # of a quarter of a second


@dataclass
class SilentStem:
    """A slot whose stem hears all and says nothing."""

    stem: socket.socket
    slot: Slot
    worker: socket.socket
    given_back: list[bool] = field(default_factory=list)

    def serve(self) -> SharedSlot:
        spec = SandboxSpec("task", 1, Path(), Path(), LIMITS, Environment(Path("python")), "m:f")
        shared = SharedSlot(self.slot, spec, lambda _slot, is_clean: self.given_back.append(is_clean), 0.5)
        shared._handlers = {"m:f": 0}
        return shared


@pytest.fixture
def silent() -> Iterator[SilentStem]:
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
    (channel, stem), (orders, worker), (connection, _keeper) = pairs
    zygote = Zygote(Key("first", "python", None, ()), connection, {}, packages={"package": "/packages/1"})
    output = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    slot = Slot(zygote, 0, 0, channel, LIMITS, serial=1)
    slot.ends = Ends(orders, Streams(output[0], output[1]), output[2])
    yield SilentStem(stem, slot, worker)
    for pair in pairs:
        for end in pair:
            end.close()


def ends_of(run: SharedSlot, asked: list[SharedCall], stop: StopReason | None = None) -> list[SharedEnd]:
    ends = list[SharedEnd]()
    for ticks, end in enumerate(run.run(asked, lambda _number: False)):
        assert ticks < MOST_TICKS, "a deadline ends it"
        if isinstance(end, SharedEnd):
            ends.append(end)
        elif stop is not None:
            run.stop(stop)
    return ends


def test_a_call_of_which_nothing_is_heard_is_lost_after_its_time_limit_and_its_slot_too(silent: SilentStem) -> None:
    with silent.serve() as run:
        ends = ends_of(run, [SharedCall(number, "m:f", "{}", 0.2) for number in range(3)])
    assert [(end.number, end.ended.reason, end.is_doubtful) for end in ends] == [(0, EndReason.MACHINE, True)]
    assert silent.given_back == [False], "its group is killed"


@pytest.mark.parametrize("reason", [StopReason.CANCELLED, StopReason.LEASE_LOST, StopReason.DRAIN, StopReason.TIMEOUT])
def test_a_stop_that_nobody_answers_ends_all_the_same(silent: SilentStem, reason: StopReason) -> None:
    with silent.serve() as run:
        ends = ends_of(run, [SharedCall(0, "m:f", "{}", 1000.0)], stop=reason)
    assert [(end.number, end.is_doubtful) for end in ends] == [(0, True)]
    assert silent.given_back == [False]


def test_a_worker_that_has_gone_before_it_was_told_anything_is_not_shared(silent: SilentStem) -> None:
    silent.worker.close()
    with silent.serve() as run:
        assert not run.load(Function("package", "m:f", LIMITS, (), ()), ["m:f"])
    assert silent.given_back == [False]
