"""The fast path of an end: completed attempts of the common shape, many in one statement.

All others end in services/finish.

The statement also claims for the places that become free: one transaction and one flush of the log less for each task.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.stored_text import storable
from mecapy_platform.db.fast_path import FINISH_MOST
from mecapy_platform.db.wire import Wire
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.fast_claim import FastClaim
from mecapy_platform.services.finish import Outcome, completed
from mecapy_platform.services.logs import Line
from mecapy_platform.services.tasks.ending import Ending, as_text

__all__ = ["FINISH_MOST", "EndedAttempt", "Finished", "fast_finish", "is_common"]
NOTHING_ASKED = (b"default", b"0", b"{}", b"", b"", b"", b"0", b"0", b"f", b"0", b"0")


@dataclass(frozen=True)
class EndedAttempt:
    """A completed attempt with the lines that are not stored yet."""

    token: UUID
    outcome: Outcome
    lines: Sequence[Line] = ()


@dataclass(frozen=True)
class Finished:
    """The tokens that were ended; the lanes in which something waits.

    What was claimed for the places that became free.
    """

    tokens: frozenset[UUID]
    lanes: tuple[Lane, ...]
    claims: Sequence[Claim] = ()


def is_common(outcome: Outcome) -> bool:
    """Completed, with nothing but results that its row and those of its calls hold."""
    stored = [outcome.stored_result, *(call.stored_result for call in outcome.calls)]
    return outcome.failure is None and not outcome.files and not any(stored)


@contextmanager
def fast_finish(
    wire: Wire, ended: Sequence[EndedAttempt], fast_claim: FastClaim | None = None, slots: int = 0, packs: int = 0
) -> Iterator[Finished]:
    """End up to FINISH_MOST attempts, each guarded by its token as in services/finish; claim up to `slots` tasks.

    Of these `packs` may carry calls. All of it is committed when the block is left. Raises DatabaseError: at the
    block's begin nothing was ended, at its end nobody knows.
    """
    text = as_text([_ending(attempt) for attempt in ended])
    asked = NOTHING_ASKED if fast_claim is None or not slots else fast_claim.asked(slots, packs)
    with wire.rows_before_commit("fast_finish", text.encode(), *asked) as ((tokens, lanes, claims),):
        taken = fast_claim.read(claims) if fast_claim is not None else None
        yield Finished(
            frozenset(UUID(token) for token in (tokens or b"").decode().split(",") if token),
            tuple(Lane(lane) for lane in (lanes or b"").decode().split(",") if lane),
            taken.claims if taken is not None else (),
        )
    if fast_claim is not None and taken is not None:
        fast_claim.settle(taken.unread)


def _ending(attempt: EndedAttempt) -> Ending:
    lines = [
        {"index": line.index, "kind": line.kind, "text": storable(line.text, len(line.text))} for line in attempt.lines
    ]
    return completed(attempt.token, attempt.outcome, lines=lines, is_told=True)
