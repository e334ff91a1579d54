"""Ends attempts and tasks. Guarded by the attempt's token: a worker that lost its lease changes nothing."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.ids import new_id
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.retries import (
    OUTAGES_MAX,
    End,
    Interruption,
    Policy,
    Retry,
    after_failure,
    after_interruption,
)
from mecapy_platform.core.states import FailureKind, TaskState, Usage
from mecapy_platform.core.stored_text import storable
from mecapy_platform.db import queue
from mecapy_platform.db.errors import RowConflictError, translated
from mecapy_platform.db.tables import Artifact, Attempt, StoredValue, Task
from mecapy_platform.services.tasks.call_ends import CallEnd, call_records, referred
from mecapy_platform.services.tasks.ending import COMPLETED, Ending, Failures, end
from mecapy_platform.storage.base import Stored

log = logging.getLogger(__name__)
Guard = Callable[[Session, UUID], Attempt | None]


@dataclass(frozen=True)
class StoredFile:
    """An output that lies in storage, to become an artifact of the task if the attempt still counts."""

    kind: str
    name: str
    filename: str
    key: str
    size_bytes: int
    sha256: str
    is_partial: bool = False


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to. `failure` None means completed. With an `interruption` it is nobody's failure."""

    failure: FailureKind | None
    usage: Usage
    code: str | None = None
    message: str | None = None
    result: Mapping[str, Any] | None = None
    stored_result: Stored | None = None  # where it is too large for the task's row
    files: Sequence[StoredFile] = ()
    calls: Sequence[CallEnd] = ()  # of those that it carried, those whose ends are not written yet
    interruption: Interruption | None = None
    is_outage: bool = False  # it was running when the part of its node that had started it went away


def live_attempt(session: Session, token: UUID) -> Attempt | None:
    """The attempt behind a token if it still counts, locked; None for one that has ended or was taken away."""
    return session.scalars(
        select(Attempt)
        .join(Task, Task.id == Attempt.task_id)
        .where(
            Attempt.token == token,
            Attempt.ended_at.is_(None),
            Task.attempt_token == token,
            Task.state == TaskState.RUNNING,
        )
        .with_for_update()
    ).first()


def lost_attempt(session: Session, token: UUID, *, absence_seconds: float) -> Attempt | None:
    """As `live_attempt`, and its lease is over still, now that nobody can renew it beside us."""
    attempt = live_attempt(session, token)
    if attempt is None:
        return None
    facts = {"id": attempt.id, "absence_seconds": absence_seconds}
    return attempt if session.scalar(queue.IS_LOST, facts) else None


def finish(
    session: Session, token: UUID, outcome: Outcome, rules: QueueRules, *, guard: Guard = live_attempt
) -> TaskState | None:
    """Record the end of an attempt.

    Returns the task's state after it, or None when the token no longer counts: nothing is changed.
    """
    attempt = guard(session, token)
    if attempt is None:
        return None
    task = session.scalars(select(Task).where(Task.id == attempt.task_id)).one()
    outcome = replace(outcome, calls=referred(session, outcome.calls))
    if outcome.message is not None:
        outcome = replace(outcome, message=storable(outcome.message))
    if outcome.failure is None:
        ending = replace(completed(token, outcome), result_ref=_keep_result(session, task, outcome.stored_result))
    else:
        ending = _failed(task, token, outcome, rules)
    if end(session, [ending]) == 0:
        return None
    _keep_files(session, task, attempt, outcome)
    session.flush()
    session.expire(task)
    session.expire(attempt)
    return ending.state


def completed(
    token: UUID, outcome: Outcome, *, lines: Sequence[Mapping[str, Any]] = (), is_told: bool = False
) -> Ending:
    """The end of an attempt that did what was asked."""
    return Ending(
        TaskState.COMPLETED,
        token,
        attempt_state=COMPLETED,
        result=outcome.result,
        usage=outcome.usage,
        lines=lines or None,
        calls=call_records(outcome.calls),
        is_told=is_told,
    )


def take_back_lost(session: Session, rules: QueueRules) -> int:
    """End every attempt whose lease has run out as a lost machine. Returns how many."""
    tokens = session.scalars(
        queue.LOST, {"lease_seconds": rules.lease_seconds, "absence_seconds": rules.durable_absence_seconds}
    ).all()
    message = "The machine or process that ran it was lost; its lease ran out."
    guard = partial(lost_attempt, absence_seconds=rules.durable_absence_seconds)
    taken = 0
    for token in tokens:
        try:
            with translated(), session.begin_nested():
                outcome = Outcome(FailureKind.LOST_MACHINE, Usage(0.0, None, None), "lost_machine", message)
                taken += finish(session, token, outcome, rules, guard=guard) is not None
        except RowConflictError:
            log.exception("attempt with token %s could not be taken back; the others go on", token)
    return taken


def _failed(task: Task, token: UUID, outcome: Outcome, rules: QueueRules) -> Ending:
    """The end of an attempt that failed: the task's too, or it is queued again."""
    decision, failures = _decide(task, outcome, rules)
    ending = Ending(
        TaskState.QUEUED if isinstance(decision, Retry) else decision.state,
        token,
        attempt_state=outcome.failure,
        code=outcome.code,
        message=outcome.message,
        leftovers_removed=bool(outcome.files),
        usage=outcome.usage,
        failures=failures,
        calls=call_records(outcome.calls),
    )
    if isinstance(decision, Retry):
        return replace(ending, delay_seconds=round(max(0.0, decision.delay_seconds), 3))
    if decision.is_parked and failures is not None:
        message = f"Given up after {failures.machine_failures} lost attempts. Last: {outcome.message}"
        return replace(ending, parked=True, task_message=message)
    return ending


def _decide(task: Task, outcome: Outcome, rules: QueueRules) -> tuple[Retry | End, Failures | None]:
    """What comes of the task, and how often what has happened by now."""
    assert outcome.failure is not None
    if task.cancel_requested_at is not None:
        return End(TaskState.CANCELLED), None
    jitter = random.random()  # noqa: S311 - spreads retries, no secret
    is_outage = outcome.is_outage or outcome.interruption is Interruption.OUTAGE
    outages = task.outages + is_outage
    machine_failures, own_failures = task.machine_failures, task.own_failures
    if outcome.interruption is not None:
        again = after_interruption(outcome.interruption, outages=outages, jitter=jitter)
        if again is not None:
            return again, Failures(machine_failures, own_failures, outages)
    if outcome.failure is FailureKind.LOST_MACHINE:
        machine_failures += 1
    else:
        own_failures += 1
    decision = after_failure(
        outcome.failure,
        machine_failures=machine_failures,
        own_failures=own_failures,
        policy=Policy.read(task.retries),
        max_machine_failures=rules.max_attempts,
        jitter=jitter,
        cap_seconds=rules.retry_backoff_max_seconds,
        is_outage=is_outage and outages <= OUTAGES_MAX,
    )
    return decision, Failures(machine_failures, own_failures, outages)


def _keep_result(session: Session, task: Task, stored: Stored | None) -> UUID | None:
    """The reference to a result that lies in storage, under the attempt's prefix."""
    if stored is None:
        return None
    value = StoredValue(
        id=new_id(),
        organization_id=task.organization_id,
        key=stored.key,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
    )
    session.add(value)
    return value.id


def _keep_files(session: Session, task: Task, attempt: Attempt, outcome: Outcome) -> None:
    for file in outcome.files:
        session.add(
            Artifact(
                organization_id=task.organization_id,
                task_id=task.id,
                attempt=attempt.number,
                kind=file.kind,
                name=file.name,
                filename=file.filename,
                key=file.key,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                is_partial=file.is_partial,
            )
        )
