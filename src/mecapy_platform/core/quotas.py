"""Which queued tasks go next: weighted shares between organizations, quotas, and what a node has room for. Pure.

Shares follow stride scheduling (Waldspurger and Weihl, 1995): each organization has a pass that grows by 1 / weight
with each task it starts, by more with one that carries much work; the smallest pass goes next. An organization that was
idle starts at the lane's virtual time, so it neither saves up turns nor loses them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from mecapy_platform.core.placement import Needs, Place, misfit

PATIENCE_SECONDS = 60.0  # after this wait, a task whose turn it is may hold room free until it fits


@dataclass(frozen=True)
class Candidate:
    """A task that may go, in the order of its organization."""

    task_id: UUID
    cpu: float
    memory_mb: int
    waited_seconds: float
    abilities: frozenset[str] = frozenset()
    share_cost: float = 1.0  # what it counts in shares, a plain task 1
    is_pack: bool = False  # it carries calls

    @property
    def needs(self) -> Needs:
        return Needs(self.cpu, self.memory_mb, self.abilities)


@dataclass(frozen=True)
class Share:
    """An organization's weight, how far its pass has come, and how many more tasks it may have running."""

    weight: float
    stride_pass: float
    may_start: int


@dataclass(frozen=True)
class Room:
    """What a node can still reserve. `packs`: so many of its slots may go to tasks that carry calls."""

    cpu: float
    memory_mb: int
    slots: int
    packs: int = 0

    def fits(self, candidate: Candidate) -> bool:
        may_go = self.slots > 0 and (self.packs > 0 or not candidate.is_pack)
        return may_go and candidate.cpu <= self.cpu and candidate.memory_mb <= self.memory_mb

    def less(self, candidate: Candidate) -> "Room":
        left = self.packs - candidate.is_pack
        return Room(self.cpu - candidate.cpu, self.memory_mb - candidate.memory_mb, self.slots - 1, left)


@dataclass(frozen=True)
class Picked:
    """Tasks to start, in order; the new pass of each organization that got a turn; the lane's virtual time.

    `kept_for`: the task for which this node keeps what is free from now on.
    """

    task_ids: tuple[UUID, ...] = ()
    passes: Mapping[UUID, float] = field(default_factory=dict)
    virtual_time: float = 0.0
    kept_for: UUID | None = None


def pick(
    queues: Mapping[UUID, Sequence[Candidate]],
    shares: Mapping[UUID, Share],
    room: Room,
    *,
    virtual_time: float,
    is_strict: bool,
    place: Place | None = None,
    kept_elsewhere: Collection[UUID] = (),
) -> Picked:
    """Choose tasks for one node.

    What `place` could never run is not looked at, and holds nothing back. `is_strict` keeps an organization's own
    order: a head that does not fit just now holds back what is behind it. Otherwise a smaller task may overtake, until
    the head has waited PATIENCE_SECONDS and it is its organization's turn; then room is kept for it, on one node:
    another one goes on, as `kept_elsewhere` tells it.
    """
    possible = {organization: _possible(queue, place) for organization, queue in queues.items()}
    waiting = {organization: queue for organization, queue in possible.items() if queue}
    state = {
        organization: replace(shares[organization], stride_pass=max(shares[organization].stride_pass, virtual_time))
        for organization in waiting
    }
    chosen: list[UUID] = []
    touched: dict[UUID, float] = {}
    kept_for = None
    while waiting and room.slots > 0:
        turn = min(waiting, key=lambda organization: (state[organization].stride_pass, str(organization)))
        share, queue = state[turn], waiting[turn]
        if share.may_start <= 0:
            del waiting[turn]
            continue
        is_patient = queue[0].waited_seconds <= PATIENCE_SECONDS or queue[0].task_id in kept_elsewhere
        position = _first_that_fits(queue, room, only_head=is_strict or not is_patient)
        if position is None:
            if not is_patient:
                kept_for = queue[0].task_id
                break
            del waiting[turn]
            continue
        candidate = queue.pop(position)
        chosen.append(candidate.task_id)
        room = room.less(candidate)
        virtual_time = max(virtual_time, share.stride_pass)
        state[turn] = replace(
            share, stride_pass=share.stride_pass + candidate.share_cost / share.weight, may_start=share.may_start - 1
        )
        touched[turn] = state[turn].stride_pass
        if not queue:
            del waiting[turn]
    return Picked(tuple(chosen), touched, virtual_time, kept_for)


def _possible(queue: Sequence[Candidate], place: Place | None) -> list[Candidate]:
    return [candidate for candidate in queue if place is None or misfit(candidate.needs, place) is None]


def _first_that_fits(queue: Sequence[Candidate], room: Room, *, only_head: bool) -> int | None:
    if only_head:
        return 0 if room.fits(queue[0]) else None
    return next((position for position, candidate in enumerate(queue) if room.fits(candidate)), None)
