"""Whether a failed attempt is followed by another one, and when. Pure; the random number is handed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mecapy_platform.core.states import FailureKind, TaskState

END_STATES = {
    FailureKind.USER_ERROR: TaskState.FAILED,
    FailureKind.TIMEOUT: TaskState.TIMEOUT,
    FailureKind.OUT_OF_MEMORY: TaskState.OUT_OF_MEMORY,
    FailureKind.LOST_MACHINE: TaskState.LOST,
    FailureKind.CANCELLED: TaskState.CANCELLED,
}


class Interruption(StrEnum):
    """Why an attempt did not end by itself though nobody failed: it is not counted, and another one follows."""

    DRAINED = "drained"  # its worker was asked to stop
    NO_ROOM = "no_room"  # its outputs found no room in storage
    OUTAGE = "outage"  # it never began: a part of its node was away


INTERRUPTED_FOR_SECONDS = {Interruption.DRAINED: 0.0, Interruption.NO_ROOM: 5.0}
OUTAGES_MAX = 20  # of one task; what keeps it from starting more often has to do with itself
OUTAGE_PAUSE_MAX_SECONDS = 5.0


@dataclass(frozen=True)
class Policy:
    """What a function's manifest asks for: extra tries for the named kinds of failure."""

    max: int = 0
    backoff_seconds: float = 1.0
    on: frozenset[FailureKind] = frozenset({FailureKind.USER_ERROR})

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Policy":
        kinds = stored.get("on") or [FailureKind.USER_ERROR]
        return cls(
            int(stored.get("max", 0)),
            float(stored.get("backoff_seconds", 1.0)),
            frozenset(FailureKind(kind) for kind in kinds),
        )


@dataclass(frozen=True)
class Retry:
    delay_seconds: float


@dataclass(frozen=True)
class End:
    state: TaskState
    is_parked: bool = False


def after_failure(
    kind: FailureKind,
    *,
    machine_failures: int,
    own_failures: int,
    policy: Policy,
    max_machine_failures: int,
    jitter: float,
    cap_seconds: float = 300.0,
    is_outage: bool = False,
) -> Retry | End:
    """Decide what follows a failure.

    `machine_failures` and `own_failures` count this one too. A lost machine is always retried until it has happened
    `max_machine_failures` times: then the task is parked, as it may be what breaks machines; not when its node's own
    part went away, `is_outage`. `jitter` lies in [0, 1).
    """
    if kind is FailureKind.CANCELLED:
        return End(TaskState.CANCELLED)
    if kind is FailureKind.LOST_MACHINE:
        if is_outage:
            return Retry(_backoff(1.0, machine_failures, jitter, OUTAGE_PAUSE_MAX_SECONDS))
        if machine_failures >= max_machine_failures:
            return End(TaskState.LOST, is_parked=True)
        return Retry(_backoff(1.0, machine_failures, jitter, cap_seconds) if machine_failures > 1 else 0.0)
    if kind in policy.on and own_failures <= policy.max:
        return Retry(_backoff(policy.backoff_seconds, own_failures, jitter, cap_seconds))
    return End(END_STATES[kind])


def after_interruption(interruption: Interruption, *, outages: int = 0, jitter: float = 0.0) -> Retry | None:
    """Another attempt follows, whatever was tried before: at once, or when what was missing may be there again.

    `outages` of the task, this one too where it is one. None: there were too many, it counts as a lost machine.
    """
    if interruption is not Interruption.OUTAGE:
        return Retry(INTERRUPTED_FOR_SECONDS[interruption])
    if outages > OUTAGES_MAX:
        return None
    return Retry(_backoff(0.5, outages, jitter, OUTAGE_PAUSE_MAX_SECONDS))


def _backoff(base_seconds: float, failures: int, jitter: float, cap_seconds: float) -> float:
    """Exponential, with the delay drawn from its upper half ("equal jitter")."""
    full: float = min(cap_seconds, base_seconds * 2 ** min(failures - 1, 30))
    return full * (0.5 + 0.5 * jitter)
