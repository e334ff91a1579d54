"""The end of an attempt, and how it gets into the database when it goes alone."""

import logging
import time
from dataclasses import dataclass

from mecapy_platform.core.states import FailureKind, TaskState
from mecapy_platform.db.errors import DatabaseError, ValueNotStorableError
from mecapy_platform.services import finish
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.finish import Outcome
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.pump import Pump

log = logging.getLogger(__name__)
REPORT_FOR_SECONDS = 120.0  # how long an end is offered to a database that is away
WAIT_MAX_SECONDS = 2.0
UNFIT = "The result or its log holds characters or numbers that cannot be stored."


@dataclass(frozen=True)
class Report:
    """What an attempt came to, with the lines that are not stored yet."""

    claim: Claim
    outcome: Outcome
    pump: Pump


def report_alone(context: WorkerContext, report: Report) -> None:
    """Offer the end, with lines not yet written, until the database takes it.

    A token that no longer counts changes nothing.
    """
    claim, deadline = report.claim, time.monotonic() + REPORT_FOR_SECONDS
    wait_seconds, is_second = 0.05, False
    while True:
        try:
            with context.database.transaction() as session:
                report.pump.write(session)
                state = finish.finish(session, claim.token, report.outcome, context.settings.queue_rules)
        except ValueNotStorableError as error:
            log.warning("the end of task %s cannot be stored: %s", claim.task_id, error.detail)
            report = Report(
                claim, Outcome(FailureKind.USER_ERROR, report.outcome.usage, "value_not_storable", UNFIT), report.pump
            )
            if is_second:
                raise
            is_second = True
        except DatabaseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(wait_seconds)
            wait_seconds = min(WAIT_MAX_SECONDS, wait_seconds * 2)
        else:
            _tell(context, claim, state)
            return


def _tell(context: WorkerContext, claim: Claim, state: TaskState | None) -> None:
    if state is None:
        log.info("attempt %s of task %s no longer counts; nothing was changed", claim.number, claim.task_id)
        context.probe("late", claim)
    else:
        context.probe("finished", claim)
