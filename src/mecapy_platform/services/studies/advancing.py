"""Lets a study go on: what ended is counted, what waits is started, as long as nothing stands against it (ADR 18).

Whoever advances holds the study's row, so that two never start the same point. It may be repeated: without marks, and
with nothing to start, it changes nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import require_submit
from mecapy_platform.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from mecapy_platform.core.ids import new_id
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.sampling.kinds import DrivenKind
from mecapy_platform.core.states import TaskState
from mecapy_platform.core.workflows.states import STUDY_FINAL, CallState, StudyState
from mecapy_platform.db import queue
from mecapy_platform.db import studies as statements
from mecapy_platform.db.session import Database
from mecapy_platform.db.workflow_tables import Study
from mecapy_platform.services.actors import present_actor
from mecapy_platform.services.studies.records import PACKS, PARALLEL, Options
from mecapy_platform.services.tasks.ending import Ending, end
from mecapy_platform.services.tasks.inserting import insert
from mecapy_platform.services.tasks.packs import Pack, insert_packs, pack_size, packs_possible
from mecapy_platform.services.tasks.requests import TaskRequest, inputs_digest
from mecapy_platform.services.tasks.resolve import resolve_function
from mecapy_platform.services.tasks.submit import columns_of

log = logging.getLogger(__name__)
ALONE_AFTER = 2
Lanes = frozenset[Lane]
NONE: Lanes = frozenset()
REFUSALS = (ConflictError, ForbiddenError, InvalidInputError, NotFoundError)


@dataclass(frozen=True)
class Stop:
    """Why nothing more is started."""

    code: str
    message: str


def advance_study(database: Database, study_id: UUID, rules: QueueRules, *, waits: bool = True) -> Lanes:
    """Returns the lanes in which tasks were made, which somebody should hint.

    `waits`: for who advances it just now; else its marks are left to them, or to the next look.
    """
    with database.transaction() as session:
        query = select(Study).where(Study.id == study_id)
        study = session.scalars(query.with_for_update(skip_locked=not waits)).first()
        if study is None:
            return NONE
        count_ends(session, study)
        return go_on(session, study, rules)


def count_ends(session: Session, study: Study) -> None:
    """Take the study's marks, and end the calls of tasks that carried one each."""
    marks = session.execute(statements.TAKE_MARKS, {"study_id": study.id}).all()
    if not marks:
        return
    task_ids = [mark.task_id for mark in marks if mark.task_id is not None]
    ended = session.execute(statements.END_CALLS, {"study_id": study.id, "task_ids": task_ids}).one()
    names = ("completed", "failed", "cancelled")
    told = {name: sum(getattr(mark, name) for mark in marks) + getattr(ended, name) for name in names}
    returned = sum(mark.returned for mark in marks)
    for name, number in told.items():
        setattr(study, name, getattr(study, name) + number)
    study.running -= sum(told.values()) + returned
    study.waiting += returned
    study.cpu_seconds += ended.cpu_seconds + sum(mark.cpu_seconds for mark in marks)
    changed(session, study)


def go_on(session: Session, study: Study, rules: QueueRules) -> Lanes:
    """Start what may start, or end the study where nothing is left. The caller holds its row."""
    if study.state in STUDY_FINAL:
        return NONE
    if study.cancel_requested_at is not None:
        _cancel(session, study)
        return NONE
    stop = _stop_of(study)
    if study.state != StudyState.PAUSED and stop is None and study.waiting > 0:
        try:
            return _start(session, study, rules)
        except REFUSALS as error:
            log.info("study %s cannot go on: %s", study.id, error.code)
            stop = Stop(error.code, error.message)
    if study.running == 0 and stop is None and study.waiting == 0 and is_driven(study):
        ask_soon(session, study)
    elif study.running == 0:
        finish(session, study, stop, fails=stop is not None and is_driven(study))
    return NONE


def is_driven(study: Study) -> bool:
    """Whether its next points follow from results: see services/studies/driving."""
    return study.design.get("kind") in set(DrivenKind)


def ask_soon(session: Session, study: Study) -> None:
    study.wake_at = study.wake_at or datetime.now(UTC)
    changed(session, study)


def _start(session: Session, study: Study, rules: QueueRules) -> Lanes:
    options = Options.read(study.options)
    seconds = session.scalar(statements.SECONDS_EACH, {"study_id": study.id})
    size = _pack_size(session, study, seconds)
    parallel = options.parallel or (PARALLEL if size == 1 else PACKS * size)
    most = min(parallel, rules.organization_max_queued) - study.running
    if study.running and most < parallel / 4:  # a few at a time cost as much as many
        return NONE
    actor = present_actor(session, study.user_id, study.organization_id)
    if actor is None:
        finish(session, study, Stop("study_owner_gone", "Whoever started the study is no member any more."))
        return NONE
    require_submit(actor, study.organization_id)  # who was made a viewer meanwhile starts nothing more
    resolved = resolve_function(session, actor, study.function_id)
    wanted = {"study_id": study.id, "most": most}
    first = session.execute(statements.NEXT, {**wanted, "most": 1 if size > 1 else most}).mappings().all()
    if not first:
        return NONE
    request = TaskRequest(resolved[0].name, inputs=first[0]["inputs"], priority=options.priority, name=study.name)
    shared = {**columns_of(actor, request, resolved, {}), "study_id": study.id}
    if size > 1 and resolved[0].entrypoint is None:
        started = _start_packs(session, wanted, shared, size, seconds or 0.0)
    else:
        started = _start_singly(session, first, shared)
    study.waiting -= started
    study.running += started
    if study.state == StudyState.PENDING:
        study.state, study.started_at = StudyState.RUNNING, datetime.now(UTC)
    changed(session, study)
    return frozenset({Lane.DEFAULT, Lane(shared["lane"])})  # tasks of several points never go where short ones do


def _pack_size(session: Session, study: Study, seconds: float | None) -> int:
    """How many points go into a task. Where no worker takes several, and where points are long, one."""
    if study.function_id is None or not packs_possible(session):
        return 1
    return pack_size(seconds)


def _start_packs(
    session: Session, wanted: Mapping[str, Any], shared: Mapping[str, Any], size: int, seconds: float
) -> int:
    """Points that came back twice may be what ended their packs: each of them goes alone from then on."""
    calls = session.execute(statements.NEXT_LEAN, wanted).all()
    call_ids = [call.id for call in calls if call.tries < ALONE_AFTER]
    insert_packs(session, [Pack(shared, call_ids[at : at + size], seconds) for at in range(0, len(call_ids), size)])
    alone = [call.id for call in calls if call.tries >= ALONE_AFTER]
    if alone:
        _start_singly(session, session.execute(statements.WAITING, {"call_ids": alone}).mappings().all(), shared)
    return len(calls)


def _start_singly(session: Session, calls: Sequence[Mapping[Any, Any]], shared: Mapping[str, Any]) -> int:
    made = [(new_id(), _own(shared, call)) for call in calls]
    insert(session, made)
    carried = {"call_ids": [call["id"] for call in calls], "task_ids": [task_id for task_id, _ in made]}
    session.execute(statements.CARRY, carried)
    return len(calls)


def _own(shared: Mapping[str, Any], call: Mapping[Any, Any]) -> dict[str, Any]:
    inputs = call["inputs"]
    return {**shared, "inputs": inputs, "inputs_digest": inputs_digest(inputs, {}), "point": call["index"]}


def _stop_of(study: Study) -> Stop | None:
    """What the study itself said would stop it."""
    options = Options.read(study.options)
    if options.max_failures is not None and study.failed > options.max_failures:
        return Stop(
            "too_many_failures",
            f"{study.failed} points have failed, and {options.max_failures} were allowed. Mend the cause, then resume.",
        )
    if options.max_cpu_hours is not None and study.cpu_seconds > options.max_cpu_hours * 3600:
        used = study.cpu_seconds / 3600
        return Stop(
            "budget_spent",
            f"Its points have used {used:.3g} CPU-hours of {options.max_cpu_hours:g}. Raise the budget, then resume.",
        )
    return None


def finish(session: Session, study: Study, stop: Stop | None, *, fails: bool = False) -> None:
    """Where nothing is under way: ended if nothing waits, or nothing more may start. All is counted anew.

    `fails`: `stop` is its own end, not a reason to start no more of its points.
    """
    if study.running == 0:
        recount(session, study)
    if study.running > 0 or (study.waiting > 0 and stop is None):
        return
    is_stopped = stop is not None and (study.waiting > 0 or fails)
    study.state = StudyState.FAILED if is_stopped else StudyState.COMPLETED
    study.error_code = stop.code if stop is not None and is_stopped else None
    study.error_message = stop.message if stop is not None and is_stopped else None
    study.completed_at, study.wake_at = datetime.now(UTC), None
    changed(session, study)


def _cancel(session: Session, study: Study) -> None:
    """What waits ends at once, what is under way is asked to; the study ends with the last of them.

    Points of a task that ends before it began come back, and are ended when their mark is taken.
    """
    cancelled = session.connection().execute(statements.CANCEL_WAITING, {"study_id": study.id}).rowcount
    study.waiting -= cancelled
    study.cancelled += cancelled
    asked = session.execute(statements.ASK_RUNNING_TO_END, {"study_id": study.id}).all()
    message = "Cancelled before it started."
    queued = [row.id for row in asked if row.state == "queued"]
    end(
        session, [Ending(TaskState.CANCELLED, task_id=task_id, code="cancelled", message=message) for task_id in queued]
    )
    if study.running == 0:
        recount(session, study)
        study.state, study.completed_at = StudyState.CANCELLED, datetime.now(UTC)
    changed(session, study)


def changed(session: Session, study: Study) -> None:
    """Who watches is woken once this is committed."""
    study.change += 1
    session.flush()
    session.execute(queue.NOTIFY, {"key": f"study:{study.id}"})


def recount(session: Session, study: Study) -> None:
    """What the counters should say; asked where nothing runs, so that no end is counted here and by its mark too."""
    counted = {row.state: row.calls for row in session.execute(statements.COUNTS, {"study_id": study.id})}
    for state in CallState:
        setattr(study, state.value, counted.get(state, 0))
    study.points = sum(counted.values())
    session.flush()
