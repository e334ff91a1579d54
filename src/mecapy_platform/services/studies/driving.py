"""Asks driven studies for their next points: optimisation, roots, convergence, reliability.

What comes next follows from the design, its seed and the recorded points alone, so that whoever asks again after a
crash is told the same. The question is asked without a transaction, for it may take seconds; points that are there
already when the answer is written are not written twice.
"""

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from mecapy_platform.core.errors import MecapyError, UnavailableError
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.workflows.states import StudyState
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Function
from mecapy_platform.db.workflow_tables import Study
from mecapy_platform.services.studies.advancing import NONE, Lanes, Stop, changed, finish, go_on
from mecapy_platform.services.studies.drawing import Drawer, Ground, Step
from mecapy_platform.services.studies.statistics import rows_of
from mecapy_platform.services.studies.studies import insert_points

log = logging.getLogger(__name__)
AGAIN_AFTER = timedelta(seconds=2)
UNDER_WAY = (StudyState.PENDING, StudyState.RUNNING)


def drive(database: Database, study_id: UUID, drawer: Drawer, rules: QueueRules) -> Lanes:
    with database.transaction() as session:
        study = session.get(Study, study_id)
        function = None if study is None else session.get(Function, study.function_id)
        if study is None or function is None or study.wake_at is None:
            return NONE
        ground, design, rows = Ground.of(function, study.fixed), study.design, rows_of(session, study)
    try:
        step = drawer.ask(design, rows, ground)
    except UnavailableError as error:  # it stays due, and is asked again
        log.warning("study %s is asked later: %s", study_id, error.code)
        _ask_later(database, study_id)
        return NONE
    except MecapyError as error:
        log.warning("study %s cannot be asked: %s", study_id, error.code)
        step = Step("failed", code=error.code, message=error.message)
    with database.transaction() as session:
        study = session.scalars(select(Study).where(Study.id == study_id).with_for_update()).first()
        if study is None or study.wake_at is None or study.state not in UNDER_WAY:
            return NONE
        study.wake_at = None
        if step.state == "ask":
            insert_points(session, study, step.points[max(0, study.points - step.first) :])
            return go_on(session, study, rules)
        study.outcome = None if step.outcome is None else dict(step.outcome)
        changed(session, study)
        failure = None if step.state == "done" else Stop(step.code or "", step.message or "")
        finish(session, study, failure, fails=failure is not None)
        return NONE


def _ask_later(database: Database, study_id: UUID) -> None:
    with database.transaction() as session:
        study = session.scalars(select(Study).where(Study.id == study_id).with_for_update()).first()
        if study is not None and study.wake_at is not None:
            study.wake_at = datetime.now(UTC) + AGAIN_AFTER
