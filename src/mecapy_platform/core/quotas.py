"""Which queued tasks go next: weighted shares between organizations, quotas, and what a node has room for. Pure.

Shares follow stride scheduling (Waldspurger and Weihl, 1995): each organization has a pass that grows by 1 / weight
with each task it starts; the smallest pass goes next. An organization that was idle starts at the lane's virtual time,
so it neither saves up turns nor loses them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

PATIENCE_SECONDS = 60.0  # after this wait, a task whose turn it is may hold room free until it fits


@dataclass(frozen=True)
class Candidate:
    """A task that may go, in the order of its organization."""

    task_id: UUID
    cpu: float
    memory_mb: int
    waited_seconds: float


@dataclass(frozen=True)
class Share:
    """An organization's weight, how far its pass has come, and how many more tasks it may have running."""

    weight: float
    passed: float
    may_start: int


@dataclass(frozen=True)
class Room:
    """What a node can still reserve."""

    cpu: float
    memory_mb: int
    slots: int

    def fits(self, candidate: Candidate) -> bool:
        return self.slots > 0 and candidate.cpu <= self.cpu and candidate.memory_mb <= self.memory_mb

    def less(self, candidate: Candidate) -> "Room":
        return Room(self.cpu - candidate.cpu, self.memory_mb - candidate.memory_mb, self.slots - 1)


@dataclass(frozen=True)
class Picked:
    """Tasks to start, in order; the new pass of each organization that got a turn; the lane's virtual time."""

    task_ids: tuple[UUID, ...] = ()
    passes: Mapping[UUID, float] = field(default_factory=dict)
    virtual_time: float = 0.0


def pick(
    queues: Mapping[UUID, Sequence[Candidate]],
    shares: Mapping[UUID, Share],
    room: Room,
    *,
    virtual_time: float,
    is_strict: bool,
) -> Picked:
    """Choose tasks for one node.

    `is_strict` keeps an organization's own order: a head that does not fit holds back what is behind it. Otherwise a
    smaller task may overtake, until the head has waited PATIENCE_SECONDS and it is its organization's turn; then room
    is kept for it.
    """
    waiting = {organization: list(queue) for organization, queue in queues.items() if queue}
    state = {
        organization: replace(shares[organization], passed=max(shares[organization].passed, virtual_time))
        for organization in waiting
    }
    chosen: list[UUID] = []
    touched: dict[UUID, float] = {}
    while waiting and room.slots > 0:
        turn = min(waiting, key=lambda organization: (state[organization].passed, str(organization)))
        share, queue = state[turn], waiting[turn]
        if share.may_start <= 0:
            del waiting[turn]
            continue
        position = _first_that_fits(queue, room, is_strict=is_strict)
        if position is None:
            if queue[0].waited_seconds > PATIENCE_SECONDS:
                break
            del waiting[turn]
            continue
        candidate = queue.pop(position)
        chosen.append(candidate.task_id)
        room = room.less(candidate)
        virtual_time = max(virtual_time, share.passed)
        state[turn] = replace(share, passed=share.passed + 1 / share.weight, may_start=share.may_start - 1)
        touched[turn] = state[turn].passed
        if not queue:
            del waiting[turn]
    return Picked(tuple(chosen), touched, virtual_time)


def _first_that_fits(queue: Sequence[Candidate], room: Room, *, is_strict: bool) -> int | None:
    if is_strict or queue[0].waited_seconds > PATIENCE_SECONDS:
        return 0 if room.fits(queue[0]) else None
    return next((position for position, candidate in enumerate(queue) if room.fits(candidate)), None)
