"""`name=value` arguments of `mecapy run`; `@path` names a file. What a text means is read by cli/reading."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from mecapy_platform.core.errors import ConfigurationError, InvalidInputError, Problem

TARGET = re.compile(r"^(?P<package>[^:@\s]+)(@(?P<version>[^:\s]+))?:(?P<function>[^:\s]+)$")


@dataclass(frozen=True)
class Target:
    """`[owner/]package[@version]:function`."""

    package: str
    function: str
    version: str | None


@dataclass
class Arguments:
    """By port: values, local files, and texts of the command line that are not read yet."""

    inputs: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


def parse_target(text: str) -> Target:
    match = TARGET.match(text)
    if match is None:
        message = (
            f"'{text}' does not name a function. It looks like package:function, owner/package:function or "
            f"package@1.2.0:function."
        )
        raise ConfigurationError("target", message)
    return Target(match["package"], match["function"], match["version"])


def parse_arguments(pairs: Iterable[str], inputs_file: Path | None) -> Arguments:
    """All values, those of the command line over those of the file. All mistakes at once."""
    found = Arguments(inputs=_read_inputs(inputs_file) if inputs_file else {})
    problems: list[Problem] = []
    seen: set[str] = set()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            problems.append(
                Problem(pair, "no_value", "is not of the form name=value (quote values with spaces: diameter='12 mm')")
            )
        elif name in seen:
            problems.append(Problem(name, "twice", "is given twice"))
        elif text.startswith("@") and not text.startswith("@@"):
            _take_file(found, name, Path(text[1:]).expanduser(), problems)
        else:
            found.texts[name] = text.removeprefix("@") if text.startswith("@@") else text
        found.inputs.pop(name, None)
        seen.add(name)
    if problems:
        raise InvalidInputError("arguments", "Some arguments cannot be understood.", problems=problems)
    return found


def parse_value(text: str) -> Any:
    """JSON where it parses (12, true, [1, 2], "text"), else the text itself ("12 mm").

    The platform converts, not we.
    """
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return text


def _take_file(found: Arguments, name: str, path: Path, problems: list[Problem]) -> None:
    if path.is_file():
        found.files[name] = path
    else:
        problems.append(Problem(name, "no_file", f"there is no file {path}"))


def _read_inputs(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_json)
    except OSError as error:
        raise InvalidInputError("inputs_file", f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidInputError("inputs_file", f"{path} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InvalidInputError("inputs_file", f"{path} is not a JSON object of inputs by name.")
    return value


def _not_json(name: str) -> NoReturn:
    raise ValueError(name)
