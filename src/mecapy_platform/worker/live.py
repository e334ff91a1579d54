"""The attempts that this process is running, and what has been asked of them since they started."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from mecapy_platform.sandbox.base import Run, StopReason
from mecapy_platform.services.claims import Claim


@dataclass
class LiveAttempt:
    """One running attempt. `stop` may come before its sandbox has started; then the sandbox is stopped as it starts."""

    claim: Claim
    stop_reason: StopReason | None = None
    _run: Run | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def started(self, run: Run) -> None:
        with self._lock:
            self._run = run
            if self.stop_reason is not None:
                run.stop(self.stop_reason)

    def stop(self, reason: StopReason) -> None:
        with self._lock:
            if self.stop_reason is None:
                self.stop_reason = reason
                if self._run is not None:
                    self._run.stop(reason)


class LiveAttempts:
    """By token; shared by the slots, the heartbeat and the drain."""

    def __init__(self) -> None:
        self._by_token: dict[UUID, LiveAttempt] = {}
        self._lock = threading.Lock()

    def add(self, claim: Claim) -> LiveAttempt:
        live = LiveAttempt(claim)
        with self._lock:
            self._by_token[claim.token] = live
        return live

    def remove(self, token: UUID) -> None:
        with self._lock:
            self._by_token.pop(token, None)

    def all(self) -> list[LiveAttempt]:
        with self._lock:
            return list(self._by_token.values())

    def stop(self, tokens: Iterable[UUID], reason: StopReason) -> None:
        wanted = set(tokens)
        for live in self.all():
            if live.claim.token in wanted:
                live.stop(reason)
