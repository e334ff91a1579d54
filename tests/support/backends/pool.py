"""A backend of many machines behind one name, as a cluster is: a capacity of its own, durable runs, one watcher.

What runs is the real guest in plain processes of this machine; what is under test is everything around it.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, BinaryIO, Self
from uuid import uuid4

from mecapy_platform.core.errors import OutageError
from mecapy_platform.core.states import Usage
from mecapy_platform.sandbox.backends import BackendKind, Capabilities, Given
from mecapy_platform.sandbox.base import (
    NOTHING_SEEN,
    Check,
    Collected,
    Ended,
    EndReason,
    Kept,
    LogChunk,
    OutputFile,
    PoolCapacity,
    ProgressLine,
    SandboxSpec,
    Seen,
    SelfTest,
    StopReason,
    Tick,
)
from support.fakes import FakeRun

LEFT_ALONE = frozenset({StopReason.DRAIN, StopReason.LEASE_LOST})  # reasons of the watching process alone


@dataclass
class Machine:
    """One of the pool: what it has, and what runs on it now."""

    name: str
    cpu: int
    memory_mb: int
    members: list["Member"] = field(default_factory=list)

    def has_room_for(self, spec: SandboxSpec) -> bool:
        cpu = sum(member.spec.limits.cpu for member in self.members)
        memory_mb = sum(member.spec.limits.memory_mb for member in self.members)
        limits = spec.limits
        return cpu + limits.cpu <= self.cpu and memory_mb + limits.memory_mb <= self.memory_mb


class Cluster:
    """Lives longer than the processes that watch its runs."""

    def __init__(self, *machines: Machine) -> None:
        self.machines = machines
        self.members: dict[str, Member] = {}
        self.changed = threading.Condition()
        self.is_away = False

    def check(self) -> None:
        if self.is_away:
            raise OutageError("pool_unreachable", "The pool does not answer.")

    def submit(self, spec: SandboxSpec) -> "Member":
        self.check()
        member = Member(self, spec)
        with self.changed:
            self.members[member.reference] = member
        member.start()
        return member

    def place(self, member: "Member") -> Machine | None:
        """A machine with room, None while there is none."""
        for machine in self.machines:
            if machine.has_room_for(member.spec):
                machine.members.append(member)
                return machine
        return None

    def forget(self, reference: str) -> None:
        with self.changed:
            member = self.members.pop(reference, None)
        if member is not None:
            member.end()


class Member(threading.Thread):
    """One run of the pool: waits for a machine, then keeps all that it says, whoever listens."""

    def __init__(self, cluster: Cluster, spec: SandboxSpec) -> None:
        super().__init__(name="pool-member", daemon=True)
        self.reference = f"pool-{uuid4().hex}"
        self.spec = spec
        self.machine: Machine | None = None
        self.history: list[LogChunk | ProgressLine] = []
        self.ended: Ended | None = None
        self.run_here: FakeRun | None = None
        self._cluster = cluster
        self._asked: StopReason | None = None
        self._is_given_up = False

    def run(self) -> None:
        changed = self._cluster.changed
        with changed:
            while self._asked is None and not self._is_given_up:
                self.machine = self._cluster.place(self)
                if self.machine is not None:
                    break
                changed.wait()
        if self.machine is None:
            self._finish(Ended(EndReason.STOPPED, None, None, Usage(0.0, None, None), self._asked))
            return
        run = FakeRun(self.spec, None)
        with changed:
            self.run_here = run
            stop = self._asked
        if stop is not None:
            run.stop(stop)
        for event in run.events(0.02):
            if not isinstance(event, Tick):
                with changed:
                    self.history.append(event)
                    changed.notify_all()
        self._finish(run.ended())

    def stop(self, reason: StopReason) -> None:
        with self._cluster.changed:
            self._asked = self._asked or reason
            run = self.run_here
            self._cluster.changed.notify_all()
        if run is not None:
            run.stop(reason)

    def end(self) -> None:
        """Whatever it does: nothing of it is left."""
        with self._cluster.changed:
            self._is_given_up = True
            run = self.run_here
            self._cluster.changed.notify_all()
        if run is not None:
            run.kill()
        self.join(20)
        if run is not None:
            run.close()

    def _finish(self, ended: Ended) -> None:
        with self._cluster.changed:
            self.ended = ended
            if self.machine is not None:
                self.machine.members.remove(self)
            self._cluster.changed.notify_all()


class PoolSandbox:
    """Watches runs of a cluster, as many as there are, from one process."""

    name = "pool"
    is_durable = True

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def capacity(self) -> PoolCapacity:
        machines = self._cluster.machines
        return PoolCapacity(sum(machine.cpu for machine in machines), sum(machine.memory_mb for machine in machines))

    def self_test(self) -> SelfTest:
        self._cluster.check()
        return SelfTest((Check("answers", holds=True),))

    def start(self, spec: SandboxSpec) -> "PoolRun":
        if spec.write_inputs is not None:
            spec.write_inputs()
        return PoolRun(self._cluster, self._cluster.submit(replace(spec, write_inputs=None)), NOTHING_SEEN)

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> "PoolRun | None":
        self._cluster.check()
        member = self._cluster.members.get(reference)
        return None if member is None else PoolRun(self._cluster, member, seen)

    def kept(self) -> Sequence[Kept]:
        self._cluster.check()
        return [
            Kept(member.reference, member.spec.task_id, member.spec.attempt, member.spec.keep, is_overdue=False)
            for member in list(self._cluster.members.values())
        ]

    def remove(self, reference: str) -> None:
        self._cluster.forget(reference)

    def close(self) -> None:
        """Its runs go on."""


class PoolRun:
    """One listener of a member; there may be another one later."""

    def __init__(self, cluster: Cluster, member: Member, seen: Seen) -> None:
        self._cluster = cluster
        self._member = member
        self._skip = {"stdout": seen.stdout_characters, "stderr": seen.stderr_characters}
        self._skip_progress = seen.progress_lines
        self._stop_reason: StopReason | None = None
        self._is_closed = False

    @property
    def reference(self) -> str:
        return self._member.reference

    def events(self, interval_seconds: float = 0.25) -> Iterator[LogChunk | ProgressLine | Tick]:
        heard = 0
        changed = self._cluster.changed
        while not self._is_closed and not self._is_detached:
            with changed:
                if heard == len(self._member.history) and self._member.ended is None:
                    changed.wait(interval_seconds)
                fresh, is_over = self._member.history[heard:], self._member.ended is not None
            heard += len(fresh)
            for event in fresh:
                yield from self._unseen(event)
            yield Tick()
            if is_over and heard == len(self._member.history):
                return

    def stop(self, reason: StopReason) -> None:
        self._stop_reason = self._stop_reason or reason
        if reason not in LEFT_ALONE:
            self._member.stop(reason)

    def ended(self) -> Ended:
        if self._is_detached:
            nothing = Usage(0.0, None, None)
            return Ended(EndReason.DETACHED, None, None, nothing, self._stop_reason, "left to another worker")
        assert self._member.ended is not None, "the run has not ended"
        return self._member.ended

    def collect(self) -> Collected:
        run = self._member.run_here
        return Collected(None, None) if run is None else run.collect()

    def open_output(self, file: OutputFile) -> BinaryIO:
        assert self._member.run_here is not None
        return self._member.run_here.open_output(file)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        is_kept = self._member.ended is not None and self._member.spec.keep  # until the end is reported
        if not self._is_detached and not is_kept:
            self._cluster.forget(self.reference)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _is_detached(self) -> bool:
        return self._stop_reason in LEFT_ALONE and self._member.ended is None

    def _unseen(self, event: LogChunk | ProgressLine) -> Iterator[LogChunk | ProgressLine]:
        if isinstance(event, ProgressLine):
            self._skip_progress -= 1
            if self._skip_progress < 0:
                yield event
            return
        skipped = min(self._skip.get(event.stream, 0), len(event.text))
        if skipped:
            self._skip[event.stream] -= skipped
        if event.text[skipped:]:
            yield LogChunk(event.stream, event.text[skipped:])


def pool_kind(cluster: Cluster, seen: list[Mapping[str, Any]] | None = None) -> BackendKind:
    """How a deployment would declare it. `seen` takes the options that it is made with."""

    def make(given: Given) -> PoolSandbox:
        if seen is not None:
            seen.append(given.options)
        return PoolSandbox(cluster)

    return BackendKind("pool", Capabilities(is_durable=True, is_node_bound=False), make)
