"""Reads what stands behind `name=` by the type of the port that it is for.

"8.8" for a String is text, for a Float a number, "12,5" for a Float is 12.5. Texts with units go to the platform as
they are: it converts, not we.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from mecapy_platform.cli.arguments import Arguments, parse_value
from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.types import (
    CATALOG,
    DictType,
    FileType,
    ListType,
    LiteralType,
    NamedType,
    StructType,
    TypeExpression,
    UnitType,
    is_number,
    parse_type,
)
from mecapy_platform.core.units import UNITS, QuantityError, read_number


class _Raw(str):
    """A number of a JSON text with the letters it was written in, until its port's type is known."""

    __slots__ = ()


def read_arguments(given: Arguments, ports: Mapping[str, str]) -> Arguments:
    """Values and files by port.

    Parameters
    ----------
    given : what the command line says, as text
    ports : input ports of the function with their types; what is not among them is read as JSON where it parses

    Raises
    ------
    InvalidInputError
        "arguments" with every mistake, in words of the command line.
    """
    kinds = {name: kind for name, text in ports.items() if (kind := _kind(text)) is not None}
    found = Arguments(inputs=dict(given.inputs), files=dict(given.files))
    problems: list[Problem] = []
    for name in given.files:
        kind = kinds.get(name)
        if kind is not None and not isinstance(kind, FileType):
            why = f"takes {kind}, no file; a text that begins with @ is written {name}=@@.."
            problems.append(Problem(name, "no_file_port", why))
    for name, value in [*given.inputs.items(), *given.texts.items()]:
        kind = kinds.get(name)
        if isinstance(kind, FileType):
            found.inputs.pop(name, None)
            if name not in given.files:
                _take_path(found, name, value, problems)
        elif name in given.texts:
            try:
                found.inputs[name] = parse_value(given.texts[name]) if kind is None else _read(kind, given.texts[name])
            except QuantityError as error:
                problems.append(Problem(name, error.code, str(error)))
    if problems:
        raise InvalidInputError("arguments", "Some arguments cannot be understood.", problems=problems)
    return found


def in_words_of_the_command_line(error: InvalidInputError, ports: Mapping[str, str]) -> InvalidInputError:
    """The platform's refusal, with what it says of files as it is written here."""
    problems = [_said_here(problem, ports) for problem in error.problems]
    message = error.message
    if len(problems) == 1 and message == error.problems[0].message:
        message = problems[0].message
    return InvalidInputError(error.code, message, problems=problems)


def _said_here(problem: Problem, ports: Mapping[str, str]) -> Problem:
    name = problem.path.removeprefix("inputs.").removeprefix("files.")
    is_file = isinstance(_kind(ports.get(name, "")), FileType) or problem.message.startswith(f"The file {name} ")
    if problem.code == "file_expected":
        return Problem(problem.path, problem.code, f"{name} is a file: write {name}=@PATH.")
    if problem.code == "missing_input" and is_file:
        return Problem(problem.path, problem.code, f"The file {name} is missing: write {name}=@PATH.")
    if problem.code == "no_file_port":
        return Problem(problem.path, problem.code, f"{name} is no File input: give its value, {name}=VALUE, without @.")
    return problem


def _take_path(found: Arguments, name: str, value: Any, problems: list[Problem]) -> None:
    """A File port that was given as text: the path of a file that is there, or a sentence."""
    path = Path(value).expanduser() if isinstance(value, str) and value else None
    try:
        is_there = path is not None and path.is_file()
    except (OSError, ValueError):
        is_there = False
    if path is not None and is_there:
        found.files[name] = path
    else:
        shown = f", and there is no file {value}" if isinstance(value, str) else ""
        problems.append(Problem(name, "no_file", f"takes a file{shown}; write {name}=@PATH"))


def _kind(text: str) -> TypeExpression | None:
    """None for a type that this version does not know: the platform judges alone."""
    try:
        return parse_type(text)
    except InvalidInputError:
        return None


def _read(kind: TypeExpression, text: str) -> Any:
    if isinstance(kind, UnitType) or (isinstance(kind, NamedType) and kind.name in UNITS):
        return _number_or_text(_json(text), text)
    if isinstance(kind, NamedType) and is_number(kind.name):
        return _number(text)
    if isinstance(kind, LiteralType) or kind == NamedType("String"):
        value = _json(text)
        return value if isinstance(value, str) and not isinstance(value, _Raw) else text
    if kind == NamedType("Boolean"):
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    value = _json(text)
    element = _element(kind)
    if element is not None and not isinstance(value, list) and ";" in text:
        return [_read(element, part) for part in _parts(text, element)]
    return _member(kind, text if value is None and text != "null" else value)


def _member(kind: TypeExpression | None, value: Any) -> Any:
    """A value of a JSON text, with numbers as its type wants them."""
    if isinstance(value, list):
        element = _element(kind)
        return [_member(element, inner) for inner in value]
    if isinstance(value, dict):
        return {key: _member(_field(kind, key), inner) for key, inner in value.items()}
    if isinstance(kind, LiteralType) or kind == NamedType("String"):
        return json.dumps(value) if isinstance(value, bool) else str(value) if isinstance(value, _Raw) else value
    return json.loads(value) if isinstance(value, _Raw) else value


def _element(kind: TypeExpression | None) -> TypeExpression | None:
    if isinstance(kind, ListType):
        return kind.element
    if isinstance(kind, NamedType) and (name := CATALOG[kind.name].element_type) and kind.name != "Matrix":
        return NamedType(name)
    return None


def _field(kind: TypeExpression | None, key: str) -> TypeExpression | None:
    if isinstance(kind, DictType):
        return kind.value
    return dict(kind.fields).get(key) if isinstance(kind, StructType) else None


def _parts(text: str, element: TypeExpression) -> Iterator[str]:
    """`1,5; 2,5 mm`: the unit of the last holds for all where no other has one."""
    parts = [part.strip() for part in text.strip().removesuffix(";").split(";")]
    is_physical = isinstance(element, UnitType) or (isinstance(element, NamedType) and element.name in UNITS)
    units = [read[1].strip() if (read := read_number(part)) else "" for part in parts] if is_physical else []
    if len(units) > 1 and units[-1] and any(not unit for unit in units):
        if any(units[:-1]):
            message = f"{text!r} has numbers with and without a unit; write a unit to each, or to the last alone."
            raise QuantityError("ambiguous_quantity", message)
        return iter([f"{part} {units[-1]}" for part in parts[:-1]] + parts[-1:])
    return iter(parts)


def _number(text: str) -> Any:
    """A pure number, also as "12,5" or "1 000"; any other text as it is, for the platform to refuse."""
    value = _json(text)
    if isinstance(value, _Raw):
        return json.loads(value)
    read = read_number(text.strip()) if len(text) < 80 else None
    if read is None or read[1].strip():
        return value if value is None and text == "null" else text
    return int(read[0]) if read[0].denominator == 1 else float(read[0])


def _number_or_text(value: Any, text: str) -> Any:
    if isinstance(value, _Raw):
        return json.loads(value)
    return value if value is not None or text == "null" else text


def _json(text: str) -> Any:
    """The value of a JSON text with its numbers kept as written; None for `null` and for what is no JSON."""
    try:
        return json.loads(text, parse_int=_Raw, parse_float=_Raw, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return None


def _not_json(name: str) -> NoReturn:
    raise ValueError(name)
