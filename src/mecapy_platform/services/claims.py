"""Gives released tasks to a worker, and takes them back from a worker that is gone.

Tokens and leases, by database time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self
from uuid import UUID, uuid4

from sqlalchemy import Row
from sqlalchemy.orm import Session

from mecapy_platform.core.lanes import LANE_LIMIT_SECONDS, Lane
from mecapy_platform.core.placement import Place
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.quotas import Candidate, Picked, Room, Share, pick
from mecapy_platform.db import queue
from mecapy_platform.services.unread_claims import Unread, give_back

UNLIMITED = 1_000_000
RESERVED_FOR_HIGH_PRIORITY_MB = 2048
KEPT_SECONDS = 30.0  # how long a node's word that it keeps room for a task holds; it is said again at each look


@dataclass(frozen=True)
class Worker:
    """Who claims: the node whose room is shared, this process, how it isolates, and what it can do now.

    `abilities` None: whatever is asked, as workers of an earlier version.
    """

    node: str
    process: str
    backend: str
    abilities: frozenset[str] | None = None


@dataclass(frozen=True)
class Claim:
    """One attempt handed to a worker, with all it needs to run without asking the database again."""

    task_id: UUID
    organization_id: UUID
    number: int
    token: UUID
    lane: str
    cpu: int
    memory_mb: int
    timeout_seconds: float
    inputs: Mapping[str, Any] | None  # None: they lie in storage, as the next three say
    inputs_key: str | None
    inputs_size_bytes: int | None
    inputs_sha256: str | None
    files: Mapping[str, Any]
    function: str
    handler: str | None
    entrypoint: Sequence[str] | None
    input_ports: Mapping[str, Any] | None
    output_ports: Mapping[str, Any] | None
    options: Mapping[str, Any]
    version_id: UUID
    archive_key: str
    archive_sha256: str
    environment_digest: str | None
    requirements_lock: str | None
    interpreter: str | None
    runtime: str
    limits: Mapping[str, Any]
    run_id: UUID | None  # what it belongs to, and who is told of its end
    study_id: UUID | None
    calls: Sequence[dict[str, Any]] | None  # those that it carries and that have not ended; None: it carries none

    @classmethod
    def read(cls, row: Mapping[Any, Any]) -> Self:
        """From a row that has at least these columns."""
        return cls(**{name: row[name] for name in CLAIMED})


CLAIMED = tuple(field.name for field in fields(Claim))


def claim(
    session: Session, worker: Worker, lane: Lane, slots: int, rules: QueueRules, *, packs: int = 0
) -> list[Claim]:
    """Up to `slots` tasks that fit the node now, `packs` of them that carry calls.

    Claims of one lane follow each other, so shares and order hold across workers. A task whose function is gone ends.
    """
    virtual_time = session.execute(queue.LOCK_LANE, {"lane": lane}).scalar()
    if virtual_time is None:
        session.execute(queue.ADD_LANE, {"lane": lane})
        virtual_time = session.execute(queue.LOCK_LANE, {"lane": lane}).scalar_one()
    abilities = None if worker.abilities is None else sorted(worker.abilities)
    wanted = {"lane": lane, "virtual_time": virtual_time, "depth": slots + 8, "packs": packs}
    rows = session.execute(queue.CANDIDATES, {**wanted, "node": worker.node, "abilities": abilities}).all()
    if not rows:
        return []
    session.execute(queue.LOCK_NODE, {"node": worker.node})
    room = session.execute(queue.NODE_ROOM, {"node": worker.node}).first()
    if room is None or not room.accepts_work:
        return []
    picked = _pick(session, lane, rows, room, (slots, packs), virtual_time, rules)
    session.execute(queue.KEEP_ROOM, {"node": worker.node, "task": picked.kept_for, "seconds": KEPT_SECONDS})
    if not picked.task_ids:
        return []
    for organization_id, stride_pass in [*picked.passes.items(), (UUID(int=0), picked.virtual_time)]:
        session.execute(queue.TAKE_TURN, {"lane": lane, "organization_id": organization_id, "stride_pass": stride_pass})
    claimed = session.execute(
        queue.TAKE,
        {
            "task_ids": list(picked.task_ids),
            "tokens": [uuid4() for _ in picked.task_ids],
            "node": worker.node,
            "worker": worker.process,
            "backend": worker.backend,
            "lease_seconds": rules.lease_seconds,
        },
    )
    taken = []
    for row in claimed.mappings().all():
        if row["version_id"] is None:
            give_back(session, Unread(row["token"], is_damaged=True), rules)
        else:
            taken.append(Claim.read(row))
    _add_facts(session, taken)
    return taken


def _add_facts(session: Session, taken: Sequence[Claim]) -> None:
    """To each call that is carried, of the function that it is of."""
    calls = [call for item in taken for call in item.calls or ()]
    facts = {
        function_id: session.scalars(queue.FACTS, {"function_id": function_id}).one()
        for function_id in {call["function_id"] for call in calls}
    }
    for call in calls:
        call["facts"] = facts[call["function_id"]]


def _rooms_for(lane: Lane, node: Row[Any], slots: int, packs: int) -> list[Room]:
    """What a lane may take of a node, so that long tasks never shut the short ones out.

    The first in which anything fits counts.

    Short ones may over-commit the CPU up to their slots, for seconds. The other lanes leave some memory to them. On an
    idle node one task may have that too, when nothing fits beside it: a large one could start in no other way.
    """
    if lane is Lane.HIGH_PRIORITY:
        return [Room(UNLIMITED, node.memory_mb, slots, packs)]
    kept_mb = min(RESERVED_FOR_HIGH_PRIORITY_MB, node.all_memory_mb // 8)
    rooms = [Room(node.cpu, node.memory_mb - kept_mb, slots, packs)]
    if node.is_idle:
        rooms.append(Room(node.cpu, node.memory_mb, min(1, slots)))
    return rooms


def _pick(
    session: Session,
    lane: Lane,
    rows: Sequence[Row[Any]],
    node: Row[Any],
    allowed_now: tuple[int, int],  # slots, packs
    virtual_time: float,
    rules: QueueRules,
) -> Picked:
    slots, packs = allowed_now
    running = session.execute(queue.RUNNING, {"default_limit": LANE_LIMIT_SECONDS[Lane.DEFAULT]}).all()
    by_organization = {row.organization_id: row.running for row in running}
    if lane is Lane.LONG_RUNNING:
        throttle = rules.long_running_max_running - sum(row.long_running for row in running)
        slots = max(0, min(slots, throttle))
    queues: dict[UUID, list[Candidate]] = {}
    shares: dict[UUID, Share] = {}
    for row in rows:
        queues.setdefault(row.organization_id, []).append(
            Candidate(
                row.task_id,
                row.cpu,
                row.memory_mb,
                row.waited_seconds,
                share_cost=row.share_cost,
                is_pack=row.is_pack,
            )
        )
        allowed = int(row.limits.get("max_running", rules.organization_max_running))
        shares[row.organization_id] = Share(
            row.weight, row.stride_pass, allowed - by_organization.get(row.organization_id, 0)
        )
    picked = Picked()
    kept_elsewhere = set(session.scalars(queue.KEPT_ELSEWHERE, {"node": node.name}))
    place = Place(node.all_cpu, node.all_memory_mb)
    for room in _rooms_for(lane, node, slots, packs):
        picked = pick(
            queues,
            shares,
            room,
            virtual_time=virtual_time,
            is_strict=lane is Lane.HIGH_PRIORITY,
            place=place,
            kept_elsewhere=kept_elsewhere,
        )
        if picked.task_ids:
            break
    return picked


def renew(session: Session, tokens: Sequence[UUID], rules: QueueRules) -> set[UUID]:
    """The tokens that are still ours; their leases now end `lease_seconds` from now."""
    rows = session.execute(queue.RENEW, {"tokens": list(tokens), "lease_seconds": rules.lease_seconds})
    return {row.token for row in rows}


def cancelled(session: Session, task_ids: Sequence[UUID]) -> set[UUID]:
    """Of these running tasks, the tokens of those that somebody asked to stop."""
    return {row.attempt_token for row in session.execute(queue.CANCELLED, {"task_ids": list(task_ids)})}


def cancelled_calls(session: Session, task_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """Of the calls that these tasks carry, those that somebody asked to stop, by task."""
    found: dict[UUID, list[str]] = {}
    for row in session.execute(queue.CANCELLED_CALLS, {"task_ids": list(task_ids)}):
        found.setdefault(row.task_id, []).append(str(row.id))
    return found
