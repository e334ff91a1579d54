"""Runs a version's test cases in the sandbox, with the limits and the confinement of a deployed task."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from mecapy_platform.core import testcases
from mecapy_platform.core.errors import InvalidInputError, MecapyError, Problem, SandboxError
from mecapy_platform.core.testcases import TestCase
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.values import check_inputs
from mecapy_platform.sandbox.base import Environment, Limits, SandboxSpec
from mecapy_platform.services.build_plan import BuildPlan, PlannedFunction
from mecapy_platform.services.builds import Ports
from mecapy_platform.worker.asking import ended_by_itself, started
from mecapy_platform.worker.checks.formulas import is_restricted, lay_guards, mode_of
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.judging import Judged


@dataclass(frozen=True)
class Bench:
    """What every case of a version runs with."""

    context: WorkerContext
    plan: BuildPlan
    package: Path
    environment: Environment | None
    ports: Mapping[str, Ports]
    image: str | None = None
    seconds: float | None = None  # for all cases together; None: those of a whole build

    def ports_of(self, function: PlannedFunction) -> Ports:
        if function.name in self.ports:
            return self.ports[function.name]
        return Ports(function.inputs or {}, function.outputs or {}, function.free_inputs)


def run_testcases(bench: Bench) -> dict[str, Any]:
    """A report of every case of every function: {passed, failed, cases: [{function, name, passed, differences}]}.

    All cases together get what is left of the build's seconds; what comes after is reported as not run, so that no
    package holds a builder.
    """
    whole = bench.context.settings.build_timeout_seconds
    seconds = whole if bench.seconds is None else bench.seconds
    deadline = time.monotonic() + seconds
    cases = []
    for function in bench.plan.functions:
        path = bench.plan.manifest["functions"][function.name].get("testcases")
        for case in _read(bench, path) if path else []:
            is_late = time.monotonic() >= deadline
            differences = (
                [f"not run: the build has used its {whole:g} s"] if is_late else _differences(bench, function, case)
            )
            cases.append(
                {"function": function.name, "name": case.name, "passed": not differences, "differences": differences}
            )
    passed = sum(1 for case in cases if case["passed"])
    return {"passed": passed, "failed": len(cases) - passed, "cases": cases}


def _read(bench: Bench, path: str) -> list[TestCase]:
    package = bench.package
    target = (package / path).resolve()
    if not target.is_relative_to(package.resolve()) or not target.is_file():
        raise InvalidInputError(
            "testcases_missing", f"The manifest names test cases in {path}, which is not in the package."
        )
    return bench.context.judge.testcases(target.read_bytes(), path)


def _differences(bench: Bench, function: PlannedFunction, case: TestCase) -> list[str]:
    """What went otherwise than expected; empty when the case passed."""
    try:
        result, raised, said = _run(bench, function, case)
    except SandboxError as error:
        if error.code == "tool_missing":  # no worker has it, or this version would have been left to that one
            return [f"not run: {error.message}"]
        raise  # the machine's fault is nothing that a case came to
    except MecapyError as error:
        return [error.sentence()]
    if case.expected_exception is not None:
        if testcases.exception_matches(case.expected_exception, raised):
            return []
        return [
            f"expected {case.expected_exception}, but " + (f"{raised} was raised" if raised else "nothing was raised")
        ]
    if result is None:
        return [said]
    return bench.context.judge.compare(case, result)


def _run(bench: Bench, function: PlannedFunction, case: TestCase) -> tuple[Judged | None, str | None, str]:
    """The outputs, or the class name of what was raised, and a sentence for a run that gave neither."""
    ports = bench.ports_of(function)
    units = function.options.get("units") or UnitSystem.SI
    directory = bench.context.work_dir / f"case-{uuid4()}"
    try:
        inputs = _workspace(bench, ports, case, directory, units)
        if is_restricted(function.options):
            lay_guards(inputs)
        settings = bench.context.settings
        limits = Limits(
            function.cpu,
            function.memory_mb,
            function.timeout_seconds,
            function.memory_mb << 20,
            grace_seconds=settings.grace_seconds,
        )
        spec = SandboxSpec(
            task_id=str(bench.plan.version_id),
            attempt=1,
            package=bench.package,
            inputs=inputs,
            limits=limits,
            environment=bench.environment,
            image=bench.image,
            organization=str(bench.plan.organization_id),
            entrypoint=tuple(function.entrypoint or ()),
            handler=function.handler,
            needs=tuple(function.options.get("needs") or ()),
            mode=mode_of(function.options),
        )
        context = bench.context
        sandbox = context.containers if bench.image and context.containers else context.sandbox
        with started(context, sandbox, spec) as run:
            heard = "".join(getattr(event, "text", "") for event in run.events())
            ended, collected = ended_by_itself(context, sandbox, run), run.collect()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if collected.error is not None:
        return None, str(collected.error.get("type")), f"{collected.error.get('type')}: {collected.error.get('error')}"
    if collected.result is None or ended.exit_code:
        return None, None, f"It ended without a result ({ended.reason}). {ended.detail} {heard[-500:]}".strip()
    limit_bytes = bench.context.settings.result_bytes
    return bench.context.judge.outputs(ports.outputs, collected.result, limit_bytes, units=units), None, ""


def _workspace(bench: Bench, ports: Ports, case: TestCase, directory: Path, units: str) -> Path:
    """Inputs as a task gets them; a File port's value is a path inside the package."""
    files = {
        name: value
        for name, value in case.inputs.items()
        if str(ports.inputs.get(name, {}).get("type", "")).startswith("File")
    }
    values = {name: value for name, value in case.inputs.items() if name not in files}
    checked = check_inputs(ports.inputs, values, files, free=ports.free_inputs, units=units)
    inputs = directory / "in"
    (inputs / "files").mkdir(parents=True)
    (inputs / "data.json").write_text(json.dumps(checked), "utf-8")
    for name, value in files.items():
        source = (bench.package / str(value)).resolve()
        if not source.is_relative_to(bench.package.resolve()) or not source.is_file():
            problem = Problem(name, "file_not_in_package", f"{value} is not a file of the package.")
            raise InvalidInputError(
                "testcase_file_missing", f"Test case {case.name} names a file that is not there.", problems=[problem]
            )
        shutil.copyfile(source, inputs / "files" / f"{name}{source.suffix}")
    for path in (directory, inputs, *inputs.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return inputs
