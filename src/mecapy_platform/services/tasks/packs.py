"""Tasks that carry calls: packs of a study's points or a map's items, chains of a run's nodes.

A call waits until a task carries it. Whoever makes such a task has looked at rights and inputs; `insert_packs` takes
calls that wait, all that it is given or none. What comes of them is written with the task's end or before
(db/functions/mecapy_end_calls); those without an end when their task has ended wait again, each such return counted in
`tries`. A mark tells the run or the study how many of each there were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.ids import new_id
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.placement import CALLS
from mecapy_platform.core.workflows.states import CallState
from mecapy_platform.db.tables import Function
from mecapy_platform.db.workflow_tables import Call
from mecapy_platform.services.places import known_places
from mecapy_platform.services.tasks.inserting import write

PACK_SECONDS = 0.5  # what a pack should fill; as much work counts in shares as a plain task
PACK_MAX = 1000


@dataclass(frozen=True)
class Pack:
    """A task to be made. `columns`: as services/tasks/submit.columns_of, with run_id or study_id (and node_id).

    `expected_seconds`: of one call, as far as it is known. A chain is a pack whose calls have bindings.
    """

    columns: Mapping[str, Any]
    call_ids: Sequence[UUID]
    expected_seconds: float = 0.0


def insert_packs(session: Session, packs: Sequence[Pack]) -> list[UUID]:
    """Insert the tasks, in one statement where their functions are the same; their calls are `running` from now on.

    Raises
    ------
    RowConflictError
        A call does not wait any more: somebody else carries it, or it was cancelled. Nothing was inserted.
    """
    made = [(new_id(), _columns(pack)) for pack in packs]
    write(session, made)
    return [task_id for task_id, _ in made]


def insert_pack(
    session: Session, columns: Mapping[str, Any], call_ids: Sequence[UUID], *, expected_seconds: float = 0.0
) -> UUID:
    """As `insert_packs`, of one."""
    return insert_packs(session, [Pack(columns, call_ids, expected_seconds)])[0]


def pack_size(seconds_of_call: float | None) -> int:
    """How many calls fill a pack, by how long one takes; few where nobody knows."""
    if seconds_of_call is None:
        return 8
    return max(1, min(PACK_MAX, int(PACK_SECONDS / max(seconds_of_call, 1e-4))))


def can_share(function: Function) -> bool:
    """Whether calls of this function may be carried together: managed Python, with neither File inputs nor outputs."""
    ports = [*(function.inputs or {}).values(), *(function.outputs or {}).values()]
    return function.entrypoint is None and not any(str(port["type"]).startswith("File") for port in ports)


def packs_possible(session: Session) -> bool:
    """Whether a worker seen lately takes tasks that carry calls; otherwise each call needs a task of its own."""
    return any(CALLS in place.abilities for place in known_places(session))


def cancel_calls(session: Session, call_ids: Sequence[UUID]) -> int:
    """Those that wait end at once; those that are carried are asked to stop. Returns how many there were."""
    calls = session.scalars(select(Call).where(Call.id.in_(call_ids)).order_by(Call.id).with_for_update()).all()
    asked = 0
    for call in calls:
        if call.state == CallState.WAITING:
            call.state, call.completed_at = CallState.CANCELLED, func.clock_timestamp()
            call.error_code, call.error_message = "cancelled", "Cancelled before it started."
        elif call.state == CallState.RUNNING:
            call.cancel_requested_at = func.clock_timestamp()
        else:
            continue
        asked += 1
    session.flush()
    return asked


def _columns(pack: Pack) -> dict[str, Any]:
    """A task of calls never stands where short ones are served at once, and counts by the work that it is."""
    columns, count = pack.columns, len(pack.call_ids)
    lane = Lane.DEFAULT if columns["lane"] == Lane.HIGH_PRIORITY else columns["lane"]
    cost = columns["cpu"] * pack.expected_seconds * count / PACK_SECONDS
    return {
        **columns,
        "lane": lane,
        "rank": 9 - columns["priority"],
        "inputs": {},
        "inputs_ref": None,
        "files": {},
        "needs": sorted({*columns["needs"], CALLS}),
        "calls_count": count,
        "share_cost": max(1.0, cost),
        "calls": list(pack.call_ids),
    }
