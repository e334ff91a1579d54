"""What a worker process is given by bootstrap: where things are, who it is, how it isolates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.session import Database
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.sandbox.base import DurableSandbox, Sandbox
from mecapy_platform.sandbox.images import Images
from mecapy_platform.sandbox.tools import installed_tools
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.services.release import Sender
from mecapy_platform.services.values import ValueStore
from mecapy_platform.settings import Settings
from mecapy_platform.storage.base import Storage
from mecapy_platform.worker.at_hand import AtHand
from mecapy_platform.worker.bytecode import Compiler
from mecapy_platform.worker.fault_points import Probe, nothing
from mecapy_platform.worker.fetcher import Fetcher
from mecapy_platform.worker.judging import Judge


class Care(Protocol):
    """Who looks after the backends: worker/readiness."""

    def doubt(self, sandbox: Sandbox, error: MecapyError) -> None:
        """Something could not be started there."""

    def is_outage(self, sandbox: Sandbox) -> bool:
        """Whether a run that died without a word there died of the node's own fault."""

    def refusal_of(self, sandbox: Sandbox) -> str | None:
        """Why nothing may run there now."""


class NoCare:
    """Nobody looks after them."""

    def doubt(self, sandbox: Sandbox, error: MecapyError) -> None:
        del sandbox, error

    def is_outage(self, sandbox: Sandbox) -> bool:
        del sandbox
        return False

    def refusal_of(self, sandbox: Sandbox) -> str | None:
        del sandbox
        return None


@dataclass(frozen=True)
class WorkerContext:
    settings: Settings
    database: Database
    storage: Storage
    sandbox: Sandbox
    send: Sender
    worker: Worker
    work_dir: Path  # one directory per attempt, removed with it
    cache_dir: Path  # extracted packages and environments, by digest
    interpreters: Mapping[str, Interpreter]  # by minor version, "3.12"
    fetcher: Fetcher
    probe: Probe = field(default=nothing)
    lane_sandboxes: Mapping[str, Sandbox] = field(
        default_factory=dict
    )  # lanes that another backend than `sandbox` serves
    containers: Sandbox | None = None  # runs images: modes B and C, whatever their lane
    images: Images | None = None  # builds and keeps them
    care: Care = field(default_factory=NoCare)
    at_hand: AtHand = field(default_factory=AtHand)
    judge: Judge = field(default_factory=lambda: Judge(Bounds(seconds=30.0, memory_bytes=1 << 30)))
    tools: Sequence[str] = field(default_factory=installed_tools)  # programs of this machine that `needs` may name

    @property
    def values(self) -> ValueStore:
        return ValueStore(self.storage, self.database.transaction, self.settings.row_value_bytes)

    @property
    def compiler(self) -> Compiler:
        return Compiler(self.sandbox, self.cache_dir / "bytecode", self.work_dir)

    def sandbox_for(self, claim: Claim) -> Sandbox:
        """The backend that runs this task."""
        if claim.entrypoint and self.containers is not None:
            return self.containers
        if claim.calls is not None:
            return (
                self.sandbox
            )  # what carries calls begins again where its worker dies, and so stands on nothing durable
        return self.sandbox_of(Lane(claim.lane))

    def sandbox_of(self, lane: Lane) -> Sandbox:
        """The backend that runs managed Python of a lane."""
        return self.lane_sandboxes.get(lane, self.sandbox)

    def sandboxes(self) -> Sequence[Sandbox]:
        """Every backend in use, each once."""
        every = [
            self.sandbox,
            *self.lane_sandboxes.values(),
            *([self.containers] if self.containers is not None else []),
        ]
        return list({id(item): item for item in every}.values())

    def durable_sandboxes(self) -> Sequence[DurableSandbox]:
        return [sandbox for sandbox in self.sandboxes() if isinstance(sandbox, DurableSandbox)]
