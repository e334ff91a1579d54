"""Checks values against ports.

Inputs as people and programs give them (units converted), outputs as handlers return them.
"""

from collections.abc import Mapping
from typing import Any

from mecapy_platform.core.errors import InvalidInputError, MalformedError, Problem, TooLargeError
from mecapy_platform.core.json_text import MAX_DEPTH, JsonError, depth_of, loads
from mecapy_platform.core.types import FileType, TypeExpression, parse_type
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.value_reader import ValueReader

Ports = Mapping[str, Mapping[str, Any]]
MAX_PROBLEMS = 100
RESERVED = frozenset({"_output_files", "_artifacts"})


def check_inputs(
    ports: Ports,
    inputs: Mapping[str, Any],
    file_inputs: Mapping[str, Any],
    *,
    free: bool = False,
    units: str = UnitSystem.SI,
) -> dict[str, Any]:
    """The inputs that the handler gets, texts with units converted to numbers.

    Parameters
    ----------
    ports : mapping of port name to {type, description, required}
    inputs : mapping of port name to JSON value; null at a port that is not required means absent
    file_inputs : mapping of File port name to anything (an upload's id or record)
    free : whether inputs without a port are taken too (handlers with ``**kwargs``)
    units : the unit system of the function, see core/units

    Raises
    ------
    InvalidInputError
        "inputs_invalid" with every problem; codes: missing_input, unknown_input, wrong_type, unit_mismatch,
        unknown_unit, not_a_quantity, not_finite, out_of_range, not_allowed, bad_text, too_deep, file_expected,
        no_file_port.
    """
    if depth_of(inputs) > MAX_DEPTH:
        problem = Problem("inputs", "too_deep", f"The inputs are nested deeper than {MAX_DEPTH} levels.")
        raise InvalidInputError("inputs_invalid", problem.message, problems=[problem])
    kinds = {name: parse_type(port["type"]) for name, port in ports.items()}
    reader = ValueReader(UnitSystem(units))
    checked = {}
    for name, value in inputs.items():
        if name in ports and not (value is None and not ports[name].get("required", True)):
            checked[name] = _input(reader, kinds[name], value, name)
        elif name not in ports and free:
            checked[name] = reader.any_json(value, name)
        elif name not in ports:
            reader.problem(
                name,
                "unknown_input",
                f"{name[:80]!r} is no input of this function. It has: {', '.join(ports) or 'none'}.",
            )
    for name, port in ports.items():
        given = file_inputs if isinstance(kinds[name], FileType) else inputs
        if port.get("required", True) and name not in given and name not in inputs:
            what = "file" if isinstance(kinds[name], FileType) else f"input ({port['type']})"
            reader.problem(name, "missing_input", f"The {what} {name} is missing.")
    for name in file_inputs:
        if not isinstance(kinds.get(name), FileType):
            reader.problem(name, "no_file_port", f"{name[:80]!r} is no File input of this function.")
    _raise(reader, "inputs_invalid", "The inputs do not fit the function.")
    return checked


def _input(reader: ValueReader, kind: TypeExpression, value: Any, name: str) -> Any:
    if isinstance(kind, FileType):
        reader.problem(name, "file_expected", f"{name} is a file: upload it and give its upload id among the files.")
        return None
    return reader.read(kind, value, name)


def check_outputs(ports: Ports, text: bytes, limit_bytes: int, *, units: str = UnitSystem.SI) -> dict[str, Any]:
    """The outputs in a handler's data.json, checked against its ports. File ports are not looked at: they are files.

    Values that no port names are kept. Without ports anything goes, as long as it is a JSON object.

    Raises
    ------
    TooLargeError
        "result_too_large" above `limit_bytes`.
    MalformedError
        "result_not_json", "result_duplicate_key", "result_not_finite", "result_too_deep", "result_out_of_range".
    InvalidInputError
        "outputs_invalid" with every problem, each naming its port.
    """
    if len(text) > limit_bytes:
        message = f"The result has {len(text)} bytes, the limit is {limit_bytes}; write a file output instead."
        raise TooLargeError("result_too_large", message)
    try:
        values = loads(text)
    except JsonError as error:
        raise MalformedError(f"result_{error.code}", f"The handler's result cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InvalidInputError(
            "result_not_an_object", "out/data.json must hold one JSON object, keyed by output port."
        )
    reader = ValueReader(UnitSystem(units), is_output=True)
    checked = {}
    for name, value in values.items():
        kind = parse_type(ports[name]["type"]) if name in ports else None
        if name in RESERVED:
            reader.problem(name, "reserved_output", f"{name} is the platform's own; name the output otherwise.")
        elif kind is None:
            checked[name] = reader.any_json(value, name)
        elif not isinstance(kind, FileType) and not (value is None and not ports[name].get("required", True)):
            checked[name] = reader.read(kind, value, name)
    for name, port in ports.items():
        if name not in values and port.get("required", True) and not str(port["type"]).startswith("File"):
            reader.problem(name, "missing_output", f"The handler returned no {name} ({port['type']}).")
    _raise(reader, "outputs_invalid", "The outputs do not fit the declared ports.")
    return checked


def _raise(reader: ValueReader, code: str, message: str) -> None:
    problems = reader.problems[:MAX_PROBLEMS]
    if not problems:
        return
    if len(problems) < len(reader.problems):
        problems.append(
            Problem("", "more_problems", f"{len(reader.problems) - MAX_PROBLEMS} more problems are not listed.")
        )
    if len(problems) == 1:
        message = problems[0].message
    raise InvalidInputError(code, message, problems=problems)
