"""The attempts that this process is running, and what has been asked of them since they started."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from mecapy_platform.sandbox.base import StopReason
from mecapy_platform.services.claims import Claim


class Stoppable(Protocol):
    """A run, or a worker that calls share."""

    def stop(self, reason: StopReason) -> None:
        """From any thread, at any time, more than once."""


@dataclass
class LiveAttempt:
    """One running attempt. `stop` may come before its sandbox has started; then the sandbox is stopped as it starts."""

    claim: Claim
    recorded: threading.Event = field(
        default_factory=threading.Event
    )  # the claim is committed, or nobody knows whether it is
    stop_reason: StopReason | None = None
    cancelled_calls: frozenset[str] = frozenset()  # of those that it carries, by id
    current_call: str | None = None  # the one that has a run of its own now
    _run: Stoppable | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def has_begun(self) -> bool:
        """Its sandbox has started, here or where an earlier worker started it."""
        return self._run is not None

    def started(self, run: Stoppable) -> None:
        with self._lock:
            self._run = run
            if self.stop_reason is not None:
                run.stop(self.stop_reason)
            elif self.current_call in self.cancelled_calls:
                run.stop(StopReason.CANCELLED)

    def stop(self, reason: StopReason) -> None:
        with self._lock:
            if self.stop_reason is None:
                self.stop_reason = reason
                if self._run is not None:
                    self._run.stop(reason)

    def begin_call(self, call_id: str) -> bool:
        """It is about to have a run of its own; False for one that was cancelled."""
        with self._lock:
            self._run, self.current_call = None, call_id
            return call_id not in self.cancelled_calls

    def cancel_calls(self, call_ids: Iterable[str]) -> None:
        """Stop these calls alone; who runs several in one worker looks at `cancelled_calls`."""
        with self._lock:
            self.cancelled_calls |= set(call_ids)
            if self.current_call in self.cancelled_calls and self._run is not None:
                self._run.stop(StopReason.CANCELLED)


class LiveAttempts:
    """By token; shared by the slots, the heartbeat and the drain."""

    def __init__(self) -> None:
        self._by_token: dict[UUID, LiveAttempt] = {}
        self._lock = threading.Lock()

    def add(self, claim: Claim, *, is_recorded: bool = True) -> LiveAttempt:
        """`is_recorded` False: the claim is not committed yet, and no other session can see the attempt."""
        live = LiveAttempt(claim)
        if is_recorded:
            live.recorded.set()
        with self._lock:
            self._by_token[claim.token] = live
        return live

    def remove(self, token: UUID) -> None:
        with self._lock:
            self._by_token.pop(token, None)

    def all(self) -> list[LiveAttempt]:
        with self._lock:
            return list(self._by_token.values())

    def recorded(self) -> list[LiveAttempt]:
        """Those that every session of the database can see."""
        return [live for live in self.all() if live.recorded.is_set()]

    def begun(self) -> list[LiveAttempt]:
        """Those whose sandbox has started."""
        return [live for live in self.all() if live.has_begun]

    def stop(self, tokens: Iterable[UUID], reason: StopReason) -> None:
        wanted = set(tokens)
        for live in self.all():
            if live.claim.token in wanted:
                live.stop(reason)
