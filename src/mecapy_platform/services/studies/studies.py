"""Studies of an organization: make, list, look, pause, resume, cancel, add points. How they go on: `advancing`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_submit
from mecapy_platform.core.errors import ConflictError, InvalidInputError, NotFoundError, Problem
from mecapy_platform.core.ids import new_id
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.workflows.states import STUDY_FINAL, StudyState
from mecapy_platform.db import studies as statements
from mecapy_platform.db.tables import Function, LaneShare
from mecapy_platform.db.workflow_tables import Study
from mecapy_platform.services.places import check_fits
from mecapy_platform.services.studies.advancing import changed, go_on, is_driven, recount
from mecapy_platform.services.studies.quantities import Quantities, quantities_of
from mecapy_platform.services.studies.records import (
    MOST_POINTS,
    POINT_BYTES,
    STUDY_BYTES,
    Drawn,
    Estimate,
    Options,
    StudyRequest,
)
from mecapy_platform.services.tasks.requests import TaskRequest
from mecapy_platform.services.tasks.resolve import Resolved, resolve, resolve_function

INSERTED_AT_ONCE = 2_000
PAGE_BYTES = 16 << 20  # of one answer


def target_of(session: Session, actor: Actor, asked: StudyRequest) -> Resolved:
    """The function that is to be varied, where the actor may run it and a worker can."""
    request = TaskRequest(asked.function, package=asked.package, version=asked.version)
    resolved = resolve(session, actor, request)
    require_submit(actor, resolved[2].organization_id)
    if resolved[0].inputs is None:
        raise ConflictError(
            "version_building", f"{resolved[2].name} is still being built; a study needs to know its ports."
        )
    quantities_of(resolved[0], asked.options)
    check_fits(session, resolved[0], resolved[1])
    return resolved


def function_of(session: Session, actor: Actor, study: Study) -> Function:
    """What a study varies, where the actor may still run it."""
    return resolve_function(session, actor, study.function_id)[0]


def quantities(session: Session, study: Study) -> Quantities:
    """What is computed of its points, for who may read them."""
    function = session.get_one(Function, study.function_id)
    return quantities_of(function, Options.read(study.options))


def estimate(session: Session, resolved: Resolved, points: int) -> Estimate:
    """Points, CPU-hours, and how many tasks of the organization wait before them."""
    function = resolved[0]
    is_learned = function.p95_seconds is not None
    seconds = function.p95_seconds if function.p95_seconds is not None else function.timeout_seconds
    waiting = select(func.coalesce(func.sum(LaneShare.queued), 0)).where(
        LaneShare.organization_id == resolved[2].organization_id
    )
    cpu_hours = points * seconds * function.cpu / 3600
    return Estimate(points, seconds, cpu_hours, is_learned, session.scalar(waiting) or 0)


def create(
    session: Session, actor: Actor, asked: StudyRequest, drawn: Drawn, rules: QueueRules, *, key: str | None = None
) -> tuple[Study, bool]:
    """A new study with its points, the first of them started; (study, whether this key had made it before).

    Raises InvalidInputError "too_many_points", "point_too_large", "no_points"; ConflictError "idempotency_conflict".
    """
    resolved = target_of(session, actor, asked)
    organization_id, digest = resolved[2].organization_id, asked.digest()
    if key is not None and (before := _made_before(session, actor, organization_id, key, digest)) is not None:
        return before, True
    study = Study(
        id=new_id(),
        organization_id=organization_id,
        user_id=actor.user_id,
        name=asked.name,
        function_id=resolved[0].id,
        design=dict(drawn.design),
        fixed=dict(asked.fixed),
        options=asked.options.as_json(),
        idempotency_key=key,
        request_digest=digest,
    )
    session.add(study)
    session.flush()
    insert_points(session, study, drawn.points)
    go_on(session, study, rules)
    return study, False


def repeat(session: Session, actor: Actor, study_id: UUID, rules: QueueRules) -> Study:
    """A new study with the points of another one, of the same version, run anew in the actor's name."""
    old = get(session, actor, study_id)
    require_submit(actor, old.organization_id)
    function = function_of(session, actor, old)
    study = Study(
        id=new_id(),
        organization_id=old.organization_id,
        user_id=actor.user_id,
        name=old.name,
        function_id=function.id,
        design=old.design,
        fixed=old.fixed,
        options=old.options,
    )
    session.add(study)
    session.flush()
    session.execute(statements.COPY_POINTS, {"source": old.id, "study_id": study.id, "most": _first_points(old)})
    recount(session, study)
    go_on(session, study, rules)
    return study


def _first_points(old: Study) -> int:
    """Those that a driven study began with follow from its design alone; the others from results."""
    return 1 if is_driven(old) else MOST_POINTS


def find_made_before(session: Session, actor: Actor, asked: StudyRequest, key: str) -> Study | None:
    """What this key has made, before anything is drawn."""
    resolved = target_of(session, actor, asked)
    return _made_before(session, actor, resolved[2].organization_id, key, asked.digest())


def get(session: Session, actor: Actor, study_id: UUID, *, locked: bool = False) -> Study:
    query = select(Study).where(Study.id == study_id, Study.organization_id.in_(actor.organization_ids))
    study = session.scalars(query.with_for_update() if locked else query).first()
    if study is None:
        raise NotFoundError("study_not_found", "There is no such study.")
    return study


def list_page(session: Session, actor: Actor, *, after: tuple[Any, UUID] | None, limit: int) -> Sequence[Study]:
    """Newest first; `after` is the (created_at, id) of the last one seen."""
    query = select(Study).where(Study.organization_id.in_(actor.organization_ids))
    if after is not None:
        query = query.where(tuple_(Study.created_at, Study.id) < after)
    return session.scalars(query.order_by(Study.created_at.desc(), Study.id.desc()).limit(limit)).all()


def points(
    session: Session, actor: Actor, study_id: UUID, *, after: int = -1, limit: int, state: str | None = None
) -> Sequence[Mapping[str, Any]]:
    """In the order of their indexes, from the one after `after`; fewer where they are large.

    `listed` of each row: how many there were before some were left out for their size.
    """
    wanted = {
        "study_id": study_id,
        "organizations": actor.organization_ids,
        "after": after,
        "state": state,
        "most": limit,
        "bytes": PAGE_BYTES,
    }
    return [dict(row) for row in session.execute(statements.POINTS, wanted).mappings()]


def failures(session: Session, study: Study) -> Sequence[Mapping[str, Any]]:
    """Why points failed: code, message, how many, the first; most frequent first."""
    return [dict(row) for row in session.execute(statements.FAILURES, {"study_id": study.id}).mappings()]


def cancel(session: Session, actor: Actor, study_id: UUID, rules: QueueRules) -> Study:
    """What waits is cancelled at once, what runs is asked to end. An ended study is answered as it is."""
    study = _to_change(session, actor, study_id)
    if study.state not in STUDY_FINAL:
        study.cancel_requested_at = study.cancel_requested_at or func.clock_timestamp()
        session.flush()
        session.refresh(study)
        go_on(session, study, rules)
        _mark(session, study)
    return study


def pause(session: Session, actor: Actor, study_id: UUID) -> Study:
    """Nothing more is started; what runs goes on to its end."""
    study = _to_change(session, actor, study_id)
    if study.state in STUDY_FINAL:
        raise ConflictError("study_ended", f"The study is {study.state}; there is nothing to pause.")
    study.state = StudyState.PAUSED
    changed(session, study)
    return study


def resume(session: Session, actor: Actor, study_id: UUID, rules: QueueRules) -> Study:
    """Go on; of an ended study, run again what failed or was cancelled."""
    study = _to_change(session, actor, study_id)
    if study.state in STUDY_FINAL:
        study.running, study.cancel_requested_at = study.running, None
        again = session.connection().execute(statements.AGAIN, {"study_id": study.id}).rowcount
        waiting = study.waiting + again
        if waiting == 0 and not (is_driven(study) and study.state != StudyState.COMPLETED):
            raise ConflictError("nothing_to_resume", "Every point of the study is completed; add points instead.")
        study.failed = study.cancelled = 0
        study.waiting = waiting
    study.state = StudyState.RUNNING
    study.error_code = study.error_message = study.completed_at = None
    changed(session, study)
    go_on(session, study, rules)
    _mark(session, study)
    return study


def add_points(session: Session, actor: Actor, study_id: UUID, drawn: Drawn, rules: QueueRules, *, there: int) -> Study:
    """More points of the same design, drawn for a study that had `there` of them.

    Raises ConflictError "points_changed" where it got others meanwhile: the same ones would be calculated twice.
    """
    study = _to_change(session, actor, study_id)
    if study.points != there:
        raise ConflictError("points_changed", "The study got other points meanwhile; look at it, then add again.")
    insert_points(session, study, drawn.points)
    study.design = dict(drawn.design)
    if study.state in STUDY_FINAL:
        study.state, study.completed_at, study.error_code, study.error_message = StudyState.RUNNING, None, None, None
        study.cancel_requested_at = None
    session.flush()
    go_on(session, study, rules)
    return study


def change_options(
    session: Session, actor: Actor, study_id: UUID, changes: Mapping[str, Any], rules: QueueRules
) -> Study:
    """Priority of what starts from now on, parallelism, budgets, derived quantities, criteria."""
    study = _to_change(session, actor, study_id)
    options = replace(Options.read(study.options), **changes)
    quantities_of(function_of(session, actor, study), options)
    study.options = options.as_json()
    changed(session, study)
    go_on(session, study, rules)
    return study


def _to_change(session: Session, actor: Actor, study_id: UUID) -> Study:
    study = get(session, actor, study_id, locked=True)
    require_submit(actor, study.organization_id)
    return study


def _mark(session: Session, study: Study) -> None:
    """Whoever advances studies looks at this one, for what ended meanwhile."""
    session.execute(statements.MARK, {"study_id": study.id})


def _made_before(session: Session, actor: Actor, organization_id: UUID, key: str, digest: str) -> Study | None:
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"study {organization_id} {key}", 0))))
    found = session.scalars(
        select(Study).where(
            Study.organization_id == organization_id, Study.user_id == actor.user_id, Study.idempotency_key == key
        )
    ).first()
    if found is not None and found.request_digest != digest:
        raise ConflictError(
            "idempotency_conflict", "This Idempotency-Key was used with another request; use a new key for a new study."
        )
    return found


def insert_points(session: Session, study: Study, drawn: Sequence[Mapping[str, Any]]) -> None:
    if not drawn:
        raise _refused("no_points", "The design has no points.")
    if study.points + len(drawn) > MOST_POINTS:
        raise _refused(
            "too_many_points", f"The study would have {study.points + len(drawn)} points, {MOST_POINTS} is the limit."
        )
    texts = [json.dumps(inputs, separators=(",", ":")) for inputs in drawn]
    if sum(map(len, texts)) > STUDY_BYTES:
        said = (
            f"The points have more than {STUDY_BYTES >> 20} MiB of inputs in all; give large data as a file or package."
        )
        raise _refused("study_too_large", said)
    for index, text in enumerate(texts):
        if len(text) > POINT_BYTES:
            message = f"Point {study.points + index} has {len(text)} bytes of inputs, {POINT_BYTES} is the limit."
            raise _refused("point_too_large", f"{message} Give large data as a file or inside the package.")
    for first in range(0, len(texts), INSERTED_AT_ONCE):
        values = {
            "organization_id": study.organization_id,
            "study_id": study.id,
            "function_id": study.function_id,
            "first": study.points + first,
            "points": f"[{','.join(texts[first : first + INSERTED_AT_ONCE])}]",
        }
        session.execute(statements.INSERT_POINTS, values)
    study.points += len(texts)
    study.waiting += len(texts)
    session.flush()


def _refused(code: str, message: str) -> InvalidInputError:
    return InvalidInputError(code, message, problems=[Problem("design", code, message)])
