"""Runs one attempt: read inputs, work in the sandbox, write outputs, report.

No database session is open while it works.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from mecapy_platform.core.errors import (
    InvalidInputError,
    MalformedError,
    MecapyError,
    OutageError,
    StorageFullError,
    TooLargeError,
)
from mecapy_platform.core.retries import Interruption
from mecapy_platform.core.states import FailureKind, Usage
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.sandbox.base import (
    Collected,
    Ended,
    EndReason,
    Limits,
    Outputs,
    Run,
    SandboxSpec,
    StartsAtOnce,
    StopReason,
)
from mecapy_platform.services import adopt
from mecapy_platform.services.adopt import Adopted
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.finish import Outcome
from mecapy_platform.worker import outputs
from mecapy_platform.worker.asking import started
from mecapy_platform.worker.checks.formulas import is_restricted, mode_of
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.live import LiveAttempt
from mecapy_platform.worker.materials import Materials, find_at_hand, prepare
from mecapy_platform.worker.pump import Pump, Sink
from mecapy_platform.worker.report import Report

log = logging.getLogger(__name__)
NOTHING_USED = Usage(0.0, None, None)
LAST_LINES = 20
PACK_CPU_WEIGHT = 25  # of calls that a task carries: tasks that somebody waits for go first
CODE = re.compile("[a-z][a-z0-9_]{1,63}")

STOPPED = {
    StopReason.CANCELLED: (FailureKind.CANCELLED, "cancelled", "Cancelled while it was running."),
    StopReason.DRAIN: (
        FailureKind.LOST_MACHINE,
        "worker_drained",
        "The worker was shut down; the task starts again elsewhere.",
    ),
    StopReason.LEASE_LOST: (FailureKind.LOST_MACHINE, "lease_lost", "The worker lost its lease."),
}
LIMITS_HIT = {
    EndReason.TIMEOUT: (FailureKind.TIMEOUT, "timeout"),
    EndReason.OUT_OF_MEMORY: (FailureKind.OUT_OF_MEMORY, "out_of_memory"),
    EndReason.MACHINE: (FailureKind.LOST_MACHINE, "sandbox_lost"),
    EndReason.LOG_LIMIT: (FailureKind.USER_ERROR, "log_limit"),
    EndReason.DISK_LIMIT: (FailureKind.USER_ERROR, "disk_limit"),
}


def run_task(context: WorkerContext, claim: Claim, live: LiveAttempt, begun: Run | None = None) -> Report | None:
    """One attempt from claim to what is to be reported, or from where `begin_at_once` has begun it.

    Never raises for what a task does.
    """
    return report_of(claim, live, Pump(context, claim), lambda pump: run_alone(context, claim, live, pump, begun))


def begin_at_once(context: WorkerContext, claim: Claim, live: LiveAttempt) -> Run | None:
    """Begin an attempt that finds everything ready; None where that takes a moment, or anything stands against it.

    So whoever has claimed it can begin it, and the thread that follows it wakes while it runs.
    """
    sandbox = context.sandbox_for(claim)
    if claim.calls is not None or not isinstance(sandbox, StartsAtOnce) or sandbox.is_durable:
        return None
    materials = find_at_hand(context, claim)
    run = None if materials is None else sandbox.start_at_once(spec_of(context, claim, materials))
    if run is not None:
        live.started(run)
    return run


def resume_task(context: WorkerContext, adopted: Adopted, live: LiveAttempt) -> Report | None:
    """Go on with a run that outlived its worker, to what is to be reported."""
    pump = Pump(context, adopted.claim, adopted.next_index)
    return report_of(adopted.claim, live, pump, lambda pump: _go_on(context, adopted, live, pump))


def report_of(claim: Claim, live: LiveAttempt, pump: Pump, work: Callable[[Pump], Outcome | None]) -> Report | None:
    """None: the run goes on without us, and there is nothing to report.

    What never began is nobody's failure, and no attempt: it is given back.
    """
    try:
        outcome = work(pump)
    except StorageFullError as error:
        outcome = Outcome(
            FailureKind.LOST_MACHINE, NOTHING_USED, error.code, error.message, interruption=Interruption.NO_ROOM
        )
    except (MecapyError, OSError) as error:
        log.exception("attempt %s of task %s could not be run", claim.number, claim.task_id)
        code = error.code if isinstance(error, MecapyError) else "platform_error"
        interruption = None if live.has_begun else Interruption.OUTAGE
        why = (
            error.message if isinstance(error, MecapyError) else error.strerror or type(error).__name__
        )  # never the path that an OSError names
        message = f"The platform could not run it: {why}"
        outcome = Outcome(FailureKind.LOST_MACHINE, NOTHING_USED, code, message, interruption=interruption)
    return None if outcome is None else Report(claim, outcome, pump)


def run_alone(
    context: WorkerContext, claim: Claim, live: LiveAttempt, pump: Sink, begun: Run | None = None
) -> Outcome | None:
    """One run of its own, from what it needs to what it came to."""
    if begun is not None:  # nothing of it lies on disk
        with begun as run:
            live.recorded.wait()
            return _follow(context, claim, run, pump, live)
    if context.sandbox_for(claim).is_durable:
        live.recorded.wait()  # what outlives us is looked up by its row, and removed where there is none
    materials = prepare(context, claim)
    try:
        with started(context, context.sandbox_for(claim), spec_of(context, claim, materials)) as run:
            live.started(run)
            live.recorded.wait()  # what follows writes beside the attempt's row
            _note_reference(context, claim, run, live)
            return _follow(context, claim, run, pump, live)
    finally:
        materials.remove()


def _go_on(context: WorkerContext, adopted: Adopted, live: LiveAttempt, pump: Sink) -> Outcome | None:
    claim = adopted.claim
    for sandbox in context.durable_sandboxes():
        try:
            found = sandbox.find(adopted.reference, adopted.seen)
        except OutageError as error:  # it may go on, with nobody here who can follow it: its lease runs out
            log.warning("the run of task %s cannot be looked for: %s", claim.task_id, error.message)
            context.care.doubt(sandbox, error)
            return None
        if found is not None:
            with found as run:
                live.started(run)
                return _follow(context, claim, run, pump, live)
    return Outcome(
        FailureKind.LOST_MACHINE,
        NOTHING_USED,
        "container_gone",
        "The container it ran in is gone; its machine was started again?",
    )


def _follow(context: WorkerContext, claim: Claim, run: Run, pump: Sink, live: LiveAttempt) -> Outcome | None:
    """To the end of the run; None when it goes on without us, and nothing is to be reported."""
    for event in run.events():
        pump.take(event)
    ended = run.ended()
    if ended.reason is EndReason.DETACHED:
        pump.flush()
        if ended.stop is StopReason.DRAIN:
            with suppress(DatabaseError), context.database.transaction() as session:
                adopt.let_go(session, claim.token)
        return None
    return outcome_of(context, claim, run, ended, pump, live)


def _note_reference(context: WorkerContext, claim: Claim, run: Run, live: LiveAttempt) -> None:
    """From here on the run can be found again. Where that cannot be written, it is one that ends with its worker."""
    if run.reference is None:
        return
    try:
        with context.database.transaction() as session:
            counts = adopt.note_reference(session, claim.token, run.reference, context.sandbox_for(claim).name)
    except DatabaseError as error:
        log.warning("the run of task %s cannot be found again: %s", claim.task_id, error.detail)
        return
    context.probe("noted", claim)
    if not counts:
        live.stop(StopReason.LEASE_LOST)


def spec_of(context: WorkerContext, claim: Claim, materials: Materials) -> SandboxSpec:
    settings = context.settings
    files = {name: port for name, port in (claim.output_ports or {}).items() if str(port["type"]).startswith("File")}
    return SandboxSpec(
        task_id=str(claim.task_id),
        attempt=claim.number,
        package=materials.package,
        inputs=materials.inputs,
        inputs_text=None if materials.is_written else materials.text,
        write_inputs=None if materials.is_written else materials.write,
        environment=materials.environment,
        organization=str(claim.organization_id),
        version=str(claim.version_id),
        is_warm=bool(claim.options.get("warm", True))
        and not is_restricted(claim.options),  # its guards are laid for each call
        reuse=int(claim.options.get("reuse", 0)),
        mode=mode_of(claim.options),
        handler=claim.handler,
        entrypoint=tuple(claim.entrypoint or ()),
        needs=tuple(claim.options.get("needs") or ()),
        image=claim.environment_digest if claim.entrypoint else None,
        keep=context.sandbox_for(claim).is_durable,
        required_files=tuple(name for name, port in files.items() if port.get("required", True)),
        optional_files=tuple(name for name, port in files.items() if not port.get("required", True)),
        limits=Limits(
            cpu=claim.cpu,
            memory_mb=claim.memory_mb,
            timeout_seconds=claim.timeout_seconds,
            disk_bytes=claim.memory_mb << 20,
            output_bytes=int(claim.limits.get("output_bytes", settings.output_bytes)),
            result_bytes=int(claim.limits.get("result_bytes", settings.result_bytes)),
            log_bytes=int(claim.limits.get("log_bytes", settings.log_bytes)),
            progress_bytes=int(claim.limits.get("progress_bytes", settings.progress_bytes)),
            progress_lines=int(claim.limits.get("progress_lines", settings.progress_lines)),
            grace_seconds=settings.grace_seconds,
            cpu_weight=100 if claim.calls is None else PACK_CPU_WEIGHT,
        ),
    )


def outcome_of(
    context: WorkerContext, claim: Claim, run: Outputs, ended: Ended, pump: Sink, live: LiveAttempt
) -> Outcome:
    """Judge an ended run. Outputs are read only here, when every process of it is dead."""
    stop = ended.stop or live.stop_reason
    if stop is StopReason.LEASE_LOST:
        return Outcome(FailureKind.LOST_MACHINE, ended.usage, "lease_lost", STOPPED[stop][2])
    collected = run.collect()
    failure = _failure(claim, ended, stop, collected, pump)
    if failure is None:
        try:
            return _completed(context, claim, run, ended, collected)
        except (InvalidInputError, MalformedError) as error:
            failure = (FailureKind.USER_ERROR, error.code, error.sentence())
        except TooLargeError as error:
            failure = (FailureKind.USER_ERROR, error.code, error.message)
    kind, code, message = failure
    partial = () if kind is FailureKind.LOST_MACHINE else outputs.store(context, claim, run, collected, is_partial=True)
    return Outcome(
        kind,
        ended.usage,
        code,
        message,
        files=partial,
        interruption=Interruption.DRAINED if stop is StopReason.DRAIN else None,
        is_outage=ended.reason is EndReason.MACHINE and context.care.is_outage(context.sandbox_for(claim)),
    )


Failure = tuple[FailureKind, str, str]


def _failure(claim: Claim, ended: Ended, stop: StopReason | None, collected: Collected, pump: Sink) -> Failure | None:
    """The first that applies.

    What the platform did to it, what it said of itself, how it exited, what it left behind.
    """
    own = _said(collected) or _exit(ended, pump)
    if own is not None and ended.reason is EndReason.PROCESS_LIMIT:
        own = (FailureKind.USER_ERROR, "process_limit", f"{own[2]} The {ended.detail}.")
    return _limit_hit(claim, ended, stop) or own or _left_behind(collected)


def _limit_hit(claim: Claim, ended: Ended, stop: StopReason | None) -> Failure | None:
    if stop in STOPPED and stop is not None:
        return STOPPED[stop]
    sentences = {
        EndReason.TIMEOUT: (
            f"Stopped at its time limit of {claim.timeout_seconds:g} s, after {ended.usage.wall_seconds:.1f} s."
        ),
        EndReason.OUT_OF_MEMORY: ended.detail or f"Used more than its {claim.memory_mb} MiB of memory.",
        EndReason.MACHINE: ended.detail or "The sandbox was lost.",
        EndReason.LOG_LIMIT: ended.detail,
        EndReason.DISK_LIMIT: ended.detail,
    }
    if ended.reason not in sentences:
        return None
    kind, code = LIMITS_HIT[ended.reason]
    return kind, code, sentences[ended.reason]


def _said(collected: Collected) -> Failure | None:
    if collected.error is None:
        return None
    return FailureKind.USER_ERROR, _error_code(collected.error), _error_text(collected.error)


def _exit(ended: Ended, pump: Sink) -> Failure | None:
    if ended.signal is not None:
        return (
            FailureKind.USER_ERROR,
            "killed_by_signal",
            f"Ended by signal {ended.signal}. {pump.last_lines(LAST_LINES)}".strip(),
        )
    if ended.exit_code:
        return (
            FailureKind.USER_ERROR,
            "exit_code",
            f"Ended with exit code {ended.exit_code}. {pump.last_lines(LAST_LINES)}".strip(),
        )
    return None


def _left_behind(collected: Collected) -> Failure | None:
    if collected.over_limit:
        return FailureKind.USER_ERROR, "output_limit", collected.over_limit
    if collected.refused:
        names = "; ".join(f"{refusal.name}: {refusal.reason}" for refusal in collected.refused[:10])
        return FailureKind.USER_ERROR, "output_refused", f"Only regular files may be outputs. {names}"
    if collected.result is None:
        return (
            FailureKind.USER_ERROR,
            "no_result",
            "It ended without writing its result (exit before the handler returned?).",
        )
    return None


def _completed(context: WorkerContext, claim: Claim, run: Outputs, ended: Ended, collected: Collected) -> Outcome:
    assert collected.result is not None
    units = claim.options.get("units") or UnitSystem.SI
    limit_bytes = context.settings.result_bytes
    judged = context.judge.outputs(claim.output_ports or {}, collected.result, limit_bytes, units=units)
    outputs.check_required(claim, collected)
    files = outputs.store(context, claim, run, collected, is_partial=False)
    stored = outputs.store_large_result(context, claim, judged)
    context.probe("stored", claim)
    return Outcome(None, ended.usage, result=None if stored else judged.read(), stored_result=stored, files=files)


def _error_code(error: Mapping[str, object]) -> str:
    code = error.get("code")
    return code if isinstance(code, str) and CODE.fullmatch(code) else "user_error"


def _error_text(error: Mapping[str, Any]) -> str:
    kind, text = error.get("type"), error.get("error")
    sentence = f"{kind}: {text}" if kind else str(text)
    return sentence[:4000] if isinstance(text, str) else json.dumps(error, default=str)[:4000]
