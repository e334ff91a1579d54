"""Runs a task that carries calls: in a worker that they share where the backend has one, else each in a run of its own.

Calls of a pack know nothing of each other: one that fails ends alone. Calls of a chain hand their outputs on, checked
as the inputs of any task; the first that does not complete ends it, and those behind it wait for another task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mecapy_platform.core.errors import InvalidInputError, SandboxError
from mecapy_platform.core.retries import Interruption
from mecapy_platform.core.states import FailureKind
from mecapy_platform.sandbox.base import Run, SharedCall, SharedEnd, SharedRun, SharingSandbox, StopReason, Tick
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.finish import Outcome
from mecapy_platform.worker.call_recorder import CallRecorder
from mecapy_platform.worker.carried import CarriedCall, carried_calls
from mecapy_platform.worker.checks.formulas import is_restricted
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.live import LiveAttempt
from mecapy_platform.worker.materials import find_at_hand, prepare
from mecapy_platform.worker.pump import CallLog, Pump
from mecapy_platform.worker.report import Report
from mecapy_platform.worker.run_task import NOTHING_USED, STOPPED, outcome_of, report_of, run_alone, run_task, spec_of

CANCELLED = Outcome(FailureKind.CANCELLED, NOTHING_USED, "cancelled", "Cancelled before it started.")


def run_claim(context: WorkerContext, claim: Claim, live: LiveAttempt, begun: Run | None = None) -> Report | None:
    """One attempt, of whatever kind, from claim to what is to be reported."""
    if claim.calls is None:
        return run_task(context, claim, live, begun)
    carrier = Carrier(context, claim, live)
    return report_of(claim, live, Pump(context, claim), lambda _pump: carrier.run())


class Carrier:
    """One attempt of a task that carries calls."""

    def __init__(self, context: WorkerContext, claim: Claim, live: LiveAttempt) -> None:
        self._context, self._claim, self._live = context, claim, live
        self._recorder = CallRecorder(context, claim)
        self._results: dict[int, Mapping[str, Any]] = {}  # of this attempt, by position: what later calls may take

    def run(self) -> Outcome:
        self._live.recorded.wait()  # what follows writes beside the attempt's row
        calls = carried_calls(self._claim)
        if any(call.bindings for call in calls):
            self._run_chain(calls)
        else:
            for call in self._run_shared(calls):
                if self._goes_on():
                    self._run_singly(call)
        return self._outcome()

    def _outcome(self) -> Outcome:
        usage, stop = self._recorder.usage, self._live.stop_reason
        if self._recorder.is_fenced:
            stop = StopReason.LEASE_LOST
        rest = () if stop is StopReason.LEASE_LOST else self._recorder.rest()
        if stop is None or stop not in STOPPED:
            return Outcome(None, usage, result={}, calls=rest)
        kind, code, message = STOPPED[stop]
        interruption = Interruption.DRAINED if stop is StopReason.DRAIN else None
        return Outcome(kind, usage, code, message, calls=rest, interruption=interruption)

    def _goes_on(self) -> bool:
        return self._live.stop_reason is None and not self._recorder.is_fenced

    def _is_cancelled(self, call: CarriedCall) -> bool:
        return str(call.id) in self._live.cancelled_calls

    def _run_chain(self, calls: Sequence[CarriedCall]) -> None:
        """One after another, in one worker where there is one.

        What an earlier attempt has recorded is not at hand here: whoever needs it waits for another task, which is
        given it as inputs.
        """
        shared = self._share(calls)
        try:
            for call in calls:
                if not self._goes_on() or not call.can_be_bound(self._results):
                    return
                try:
                    ready = call.bound(self._results)
                except InvalidInputError as error:
                    self._note(call, Outcome(FailureKind.USER_ERROR, NOTHING_USED, error.code, error.sentence()), "")
                    return
                served = _Served(not_begun=[ready])
                if shared is not None and ready.can_share:
                    served = self._serve(shared, [ready])
                for left in (*served.doubtful, *served.not_begun):
                    self._run_singly(left)
                if call.position not in self._results:
                    return
        finally:
            if shared is not None:
                shared.close()

    def _run_shared(self, calls: Sequence[CarriedCall]) -> list[CarriedCall]:
        """Gives those that need a run of their own: by their inputs, or because their group's limit ended them."""
        singly = [call for call in calls if not call.can_share]
        left = [call for call in calls if call.can_share]
        while left and self._goes_on():
            shared = self._share(left)
            if shared is None:
                break
            with shared:
                served = self._serve(shared, left)
            singly += served.doubtful
            if len(served.not_begun) == len(left):
                break
            left = served.not_begun
        return singly + left

    def _share(self, calls: Sequence[CarriedCall]) -> SharedRun | None:
        """A worker for these calls, where the backend can and the function may have a warm one."""
        context, sandbox = self._context, self._context.sandbox_for(self._claim)
        may_share = bool(self._claim.options.get("warm", True)) and not is_restricted(self._claim.options)
        if len(calls) < 2 or not may_share or not isinstance(sandbox, SharingSandbox):
            return None
        materials = find_at_hand(context, replace(self._claim, inputs={})) or prepare(context, self._claim)
        spec = spec_of(context, self._claim, materials)
        if any(call.bindings for call in calls):  # somebody waits for a chain
            spec = replace(spec, limits=replace(spec.limits, cpu_weight=100))
        handlers = sorted({call.claim.handler for call in calls if call.claim.handler})
        shared = sandbox.share(spec, handlers) if handlers else None
        if shared is not None:
            self._live.started(shared)
        return shared

    def _serve(self, shared: SharedRun, calls: Sequence[CarriedCall]) -> "_Served":
        by_number = {call.position: call for call in calls}
        asked = [
            SharedCall(call.position, call.claim.handler or "", call.text, call.claim.timeout_seconds) for call in calls
        ]
        doubtful = []
        for end in shared.run(asked, lambda number: self._is_cancelled(by_number[number])):
            if isinstance(end, Tick):
                self._recorder.look()
                continue
            call = by_number.pop(end.number)
            if end.is_doubtful:
                doubtful.append(call)
            else:
                self._take(call, end)
            if self._recorder.is_fenced:
                shared.stop(StopReason.LEASE_LOST)
        return _Served(doubtful, list(by_number.values()))

    def _take(self, call: CarriedCall, end: SharedEnd) -> None:
        log = CallLog()
        for chunk in end.log:
            log.take(chunk)
        if self._live.stop_reason is not None and end.ended.stop is not None:
            return  # the task is stopped, not this call: it is as if it had not begun
        self._note(call, outcome_of(self._context, call.claim, end.outputs, end.ended, log, self._live), log.text)

    def _run_singly(self, call: CarriedCall) -> None:
        if not self._live.begin_call(str(call.id)):
            self._note(call, CANCELLED, "")
            return
        log = CallLog(self._recorder.look)
        outcome = run_alone(self._context, call.claim, self._live, log)
        if outcome is None or self._live.stop_reason is not None:
            return
        if outcome.failure is FailureKind.LOST_MACHINE:
            raise SandboxError(outcome.code or "sandbox_lost", outcome.message or "The sandbox was lost.")
        self._note(call, outcome, log.text)

    def _note(self, call: CarriedCall, outcome: Outcome, text: str) -> None:
        if outcome.failure is None:
            self._results[call.position] = outcome.result or {}
        self._recorder.add(call, outcome, text)


@dataclass(frozen=True)
class _Served:
    """What a shared worker left: calls that its group's limit ended, and calls that it did not come to."""

    doubtful: list[CarriedCall] = field(default_factory=list)
    not_begun: list[CarriedCall] = field(default_factory=list)
