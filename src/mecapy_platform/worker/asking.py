"""Asks the sandbox about a package while it is built: a question as data.json, an answer as data.json.

Every answer is mistrusted.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from mecapy_platform.core.errors import OutageError, SandboxError
from mecapy_platform.sandbox.base import (
    Collected,
    Ended,
    EndReason,
    Environment,
    Limits,
    Mode,
    Run,
    Sandbox,
    SandboxSpec,
)
from mecapy_platform.services.build_plan import BuildPlan
from mecapy_platform.worker.context import WorkerContext


@dataclass(frozen=True)
class Answer:
    """How the run ended, what it wrote, what it printed."""

    collected: Collected
    ended: Ended
    heard: str


@dataclass(frozen=True)
class Question:
    """`body` is what the mode asks for as in/data.json."""

    body: Any
    limits: Limits
    mode: Mode = Mode.DESCRIBE


def ask_sandbox(
    context: WorkerContext, plan: BuildPlan, question: Question, package: Path, environment: Environment
) -> Answer:
    """One run in a sandbox with the package shown read-only."""
    inputs = context.work_dir / f"ask-{uuid4()}"
    (inputs / "files").mkdir(parents=True)
    (inputs / "data.json").write_text(json.dumps(question.body), "utf-8")
    inputs.chmod(0o755)
    (inputs / "files").chmod(0o755)
    (inputs / "data.json").chmod(0o644)
    spec = SandboxSpec(
        task_id=str(plan.version_id),
        attempt=1,
        package=package,
        inputs=inputs,
        limits=question.limits,
        environment=environment,
        mode=question.mode,
    )
    try:
        with started(context, context.sandbox, spec) as run:
            heard = "".join(getattr(event, "text", "") for event in run.events())
            return Answer(run.collect(), ended_by_itself(context, context.sandbox, run), heard)
    finally:
        shutil.rmtree(inputs, ignore_errors=True)


def started(context: WorkerContext, sandbox: Sandbox, spec: SandboxSpec) -> Run:
    """A run; a backend that cannot start one is looked at before more is asked of it."""
    try:
        return sandbox.start(spec)
    except SandboxError as error:
        context.care.doubt(sandbox, error)
        raise


def ended_by_itself(context: WorkerContext, sandbox: Sandbox, run: Run) -> Ended:
    """How it ended, where that tells of the package.

    Raises
    ------
    SandboxError
        Its machine ended it: `OutageError` where what starts sandboxes went away.
    """
    ended = run.ended()
    if ended.reason is EndReason.MACHINE:
        kind = OutageError if context.care.is_outage(sandbox) else SandboxError
        raise kind("sandbox_lost", ended.detail or "The sandbox was lost.")
    return ended
