"""`mecapy test`.

The test cases of a package, run on this machine without a platform and judged as the platform judges them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mecapy_platform.client.interpreters import Interpreter, find_interpreter
from mecapy_platform.client.texts import checked_manifest
from mecapy_platform.client.workspace import LocalCall, LocalEnd, call
from mecapy_platform.core.errors import InvalidInputError, MecapyError, Problem
from mecapy_platform.core.manifest import FunctionSpec, Manifest, RuntimeKind, SignaturePorts, ports_from_signature
from mecapy_platform.core.testcases import TestCase, compare, exception_matches, parse_testcases
from mecapy_platform.core.types import file_extensions
from mecapy_platform.core.values import check_inputs, check_outputs

RESULT_BYTES = 16 << 20
SHOWN_LINES = 12


@dataclass(frozen=True)
class LocalPackage:
    """A package folder, its manifest, and the interpreter that runs it."""

    folder: Path
    manifest: Manifest
    interpreter: Interpreter

    @property
    def needs_requirements(self) -> bool:
        return self.manifest.runtime.requirements


@dataclass(frozen=True)
class Verdict:
    """What became of one case; `problems` is empty when it passed. `output` is what the handler printed."""

    function: str
    case: str
    problems: tuple[str, ...] = ()
    output: str = field(default="", repr=False)

    @property
    def has_passed(self) -> bool:
        return not self.problems


def open_package(folder: Path) -> LocalPackage:
    """Parse the manifest (all problems at once) and look for a matching interpreter."""
    manifest = checked_manifest(folder)
    if manifest.runtime.kind is not RuntimeKind.PYTHON:
        message = (
            f"`mecapy test` runs Python handlers; this package is built as {manifest.runtime.kind}. Deploy it "
            f"to run its test cases."
        )
        raise InvalidInputError("not_python", message)
    return LocalPackage(folder, manifest, find_interpreter(manifest.runtime.version, folder))


def run_cases(package: LocalPackage, function: str | None = None) -> Iterator[Verdict]:
    """Verdicts one by one, of all functions or of one."""
    functions = package.manifest.functions
    if function is not None and function not in functions:
        raise InvalidInputError(
            "unknown_function", f"The package has no function '{function}'. It has: {', '.join(functions)}."
        )
    for name, spec in functions.items():
        if spec.testcases and function in {None, name}:
            yield from _function_cases(package, spec)


def _function_cases(package: LocalPackage, spec: FunctionSpec) -> Iterator[Verdict]:
    path = package.folder / str(spec.testcases)
    try:
        cases = parse_testcases(path.read_bytes(), file=str(spec.testcases))
        ports = _ports(package, spec)
    except MecapyError as error:
        yield Verdict(spec.name, str(spec.testcases), _sentences(error))
        return
    except OSError as error:
        yield Verdict(spec.name, str(spec.testcases), (f"cannot be read: {error.strerror}",))
        return
    for case in cases:
        yield _judged(package, spec, ports, case)


def _ports(package: LocalPackage, spec: FunctionSpec) -> SignaturePorts:
    """As declared in the manifest, else as the handler's signature says."""
    if spec.inputs is not None and spec.outputs is not None:
        return SignaturePorts(dict(spec.inputs), dict(spec.outputs))
    order = LocalCall(
        package.folder, package.interpreter.program, "describe", None, {"handler": spec.handler}, {}, spec.resources
    )
    end = call(order)
    description = json.loads(end.result)["handler"] if end.result else {"error": _why(end)}
    if "error" in description:
        raise InvalidInputError("handler_unusable", str(description["error"]))
    found = ports_from_signature(description, wants_inputs=spec.inputs is None, wants_outputs=spec.outputs is None)
    inputs = found.inputs if spec.inputs is None else dict(spec.inputs)
    return SignaturePorts(inputs, found.outputs if spec.outputs is None else dict(spec.outputs), found.free_inputs)


def _judged(package: LocalPackage, spec: FunctionSpec, ports: SignaturePorts, case: TestCase) -> Verdict:
    try:
        order = _order(package, spec, ports, case)
        end = call(order)
        problems = _failure(spec, end, case) if end.result is None else _differences(spec, ports, end, case)
    except MecapyError as error:
        return Verdict(spec.name, case.name, () if _is_expected(case, error) else _sentences(error))
    return Verdict(spec.name, case.name, problems, end.output)


def _order(package: LocalPackage, spec: FunctionSpec, ports: SignaturePorts, case: TestCase) -> LocalCall:
    file_ports = {name for name, port in ports.inputs.items() if _is_file(port)}
    files = {
        name: _package_file(package.folder, name, value) for name, value in case.inputs.items() if name in file_ports
    }
    values = {name: value for name, value in case.inputs.items() if name not in file_ports}
    data = check_inputs(ports.inputs, values, dict.fromkeys(files, True), free=ports.free_inputs, units=_units(spec))
    outputs = {name: bool(port.get("required", True)) for name, port in ports.outputs.items() if _is_file(port)}
    return LocalCall(
        package.folder,
        package.interpreter.program,
        "run",
        spec.handler,
        data,
        files,
        spec.resources,
        [name for name, required in outputs.items() if required],
        [name for name, required in outputs.items() if not required],
    )


def _package_file(folder: Path, port: str, value: Any) -> Path:
    path = (folder / str(value)).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        message = f"{value} is no file of the package (paths are relative to its folder)"
        raise InvalidInputError("inputs_invalid", message, problems=[Problem(port, "no_file", message)])
    return path


def _failure(spec: FunctionSpec, end: LocalEnd, case: TestCase) -> tuple[str, ...]:
    """Why there is no result; nothing when that is what the case expects."""
    kind = str(end.error["type"]) if end.error and "type" in end.error else None
    if case.expected_exception is not None and exception_matches(case.expected_exception, kind):
        return ()
    if end.is_timeout:
        return (f"did not end within its limit of {spec.resources.timeout_seconds} s",)
    wanted = f"expected {case.expected_exception}, but " if case.expected_exception else ""
    return (f"{wanted}{_why(end)}",)


def _why(end: LocalEnd) -> str:
    if end.error:
        return f"{end.error.get('type', 'Error')}: {end.error.get('error', '')}"
    lines = end.output.strip().splitlines()[-SHOWN_LINES:]
    return "the handler's process ended without a result" + (
        ":\n" + "\n".join(lines) if lines else " and without a word"
    )


def _differences(spec: FunctionSpec, ports: SignaturePorts, end: LocalEnd, case: TestCase) -> tuple[str, ...]:
    if case.expected_exception is not None:
        return (f"expected {case.expected_exception}, but the handler gave a result",)
    outputs = check_outputs(ports.outputs, end.result or b"", RESULT_BYTES, units=_units(spec))
    missing = tuple(_file_problems(ports, end.files))
    return (*missing, *compare(case.expected or {}, outputs, case.tolerance))


def _file_problems(ports: SignaturePorts, files: tuple[str, ...]) -> Iterator[str]:
    for name, port in ports.outputs.items():
        if not _is_file(port):
            continue
        found = [file for file in files if file.partition(".")[0] == name]
        allowed = file_extensions(str(port["type"]))
        if not found and port.get("required", True):
            yield f"{name}: the handler wrote no such file to out/files"
        for file in found:
            extension = file.rpartition(".")[2].lower()
            if allowed and extension not in allowed:
                yield f"{name}: {file} is none of {', '.join(sorted(allowed))}"


def _is_file(port: Mapping[str, Any]) -> bool:
    return str(port["type"]).startswith("File")


def _units(spec: FunctionSpec) -> str:
    return str(spec.options.get("units", "SI"))


def _is_expected(case: TestCase, error: MecapyError) -> bool:
    """A case may expect that the platform refuses its inputs before the handler sees them."""
    return (
        case.expected_exception is not None
        and error.code == "inputs_invalid"
        and case.expected_exception.endswith(("ValueError", "TypeError"))
    )


def _sentences(error: MecapyError) -> tuple[str, ...]:
    if not error.problems:
        return (error.message,)
    return tuple(
        f"{problem.path}: {problem.message}" if problem.path else problem.message for problem in error.problems
    )
