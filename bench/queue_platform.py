"""A platform whose sandbox costs nothing and isolates nothing, so that what stands around one can be measured.

Never for anything else.

Usage: python -m bench.queue_platform --data DIR --ready-file FILE
"""

import argparse
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from mecapy_platform import bootstrap
from mecapy_platform.core import units
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import Usage
from mecapy_platform.embedded.launcher import Launcher, Options
from mecapy_platform.sandbox.base import (
    Collected,
    Ended,
    EndReason,
    LogChunk,
    OutputFile,
    ProgressLine,
    Run,
    Sandbox,
    SandboxSpec,
    SelfTest,
    StopReason,
    Tick,
)
from mecapy_platform.settings import Settings
from mecapy_platform.worker import main as worker_main

HANDLER = "nonce:answer"


class NoSandbox:
    """Answers the benchmark's one function itself; describing a package goes through the real sandbox, once."""

    name = "none"
    is_durable = False

    def __init__(self, real: Sandbox) -> None:
        self._real = real

    def self_test(self) -> SelfTest:
        return SelfTest()

    def start(self, spec: SandboxSpec) -> Run:
        return NoRun(spec) if spec.handler == HANDLER and not spec.describe else self._real.start(spec)

    def find(self, reference: str) -> Run | None:
        del reference
        return None

    def close(self) -> None:
        self._real.close()


class NoRun:
    """Over before it began."""

    reference: str | None = None

    def __init__(self, spec: SandboxSpec) -> None:
        nonce = json.loads(inputs_of(spec))["nonce"]
        self._result = json.dumps({"answer": nonce * 3 + 1, "namespace": spec.task_id}).encode()

    def events(self, interval_seconds: float = 0.25) -> Iterator[LogChunk | ProgressLine | Tick]:
        del interval_seconds
        return iter(())

    def stop(self, reason: StopReason) -> None:
        del reason

    def ended(self) -> Ended:
        return Ended(EndReason.EXITED, 0, None, Usage(0.0, 0.0, 0.0))

    def collect(self) -> Collected:
        return Collected(self._result, None)

    def open_output(self, file: OutputFile) -> BinaryIO:
        raise FileNotFoundError(file.name)

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def inputs_of(spec: SandboxSpec) -> str | bytes:
    return spec.inputs_text or (spec.inputs / "data.json").read_text("utf-8")


class Program:
    """Bootstrap with another sandbox in its workers."""

    def migrate(self, settings: Settings) -> None:
        bootstrap.migrate(settings)

    def run_api(self, settings: Settings, listener: socket.socket) -> None:
        bootstrap.run_api(settings, listener)

    def run_relay(self, settings: Settings) -> None:
        bootstrap.run_relay(settings)

    def run_worker(self, settings: Settings, lanes: Sequence[str]) -> None:
        bootstrap.configure_logging()
        units.registry()
        context = bootstrap.make_worker_context(settings, lanes)
        worker_main.serve(
            replace(context, sandbox=NoSandbox(context.sandbox), lane_sandboxes={}), [Lane(lane) for lane in lanes]
        )

    def wait_ready(self, settings: Settings) -> None:
        bootstrap.wait_ready(settings)


def load() -> Program:
    units.registry()
    return Program()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    asked = parser.parse_args()
    Launcher(Options(asked.data.absolute(), ready_file=asked.ready_file.absolute()), load, print).run(
        lambda _ready: None
    )
