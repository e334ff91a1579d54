"""Collects everything that is wrong with a document, and reads its plain fields."""

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from mecapy_platform.core.errors import InvalidInputError, Problem

MAX_PROBLEMS = 100
_LARGEST = 1.7e308
Choice = TypeVar("Choice", bound=StrEnum)


def is_number(value: Any) -> bool:
    """A finite number that a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -_LARGEST < value < _LARGEST


class Problems:
    """Of one document. Each reader returns a default after a problem, so that all are found in one look."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    def add(self, path: str, code: str, message: str) -> None:
        self._count += 1
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(Problem(path, code, message))

    def refuse(self, code: str, message: str) -> None:
        """Raises InvalidInputError where anything was found."""
        if self._found:
            raise InvalidInputError(code, message, problems=self._found)

    def known(self, given: Mapping[str, Any], path: str, names: Iterable[str]) -> None:
        """Says each key that is not among `names`."""
        expected = sorted(names)
        for key in given:
            if key not in expected:
                said = f"{str(key)[:80]!r} is not known here. There is: {', '.join(expected)}."
                self.add(f"{path}.{str(key)[:80]}".lstrip("."), "unknown_key", said)

    def whole(self, value: Any, path: str, least: int, most: int, default: int = 0) -> int:
        """A whole number from `least` to `most`; `default` after a problem."""
        if not is_number(value) or value != int(value):
            self.add(path, "wrong_type", f"This must be a whole number from {least:,} to {most:,}.")
            return default
        if not least <= value <= most:
            self.add(path, "out_of_range", f"This must be from {least:,} to {most:,}; {value:,} was given.")
            return default
        return int(value)

    def real(self, value: Any, path: str, *, least: float = -math.inf, most: float = math.inf) -> float:
        """A finite number from `least` to `most`; `nan` after a problem."""
        if isinstance(value, float) and not math.isfinite(value):
            self.add(path, "not_finite", "This number must be finite.")
        elif not is_number(value):
            self.add(path, "wrong_type", "This must be a number.")
        elif not least <= value <= most:
            self.add(path, "out_of_range", f"This must be from {least:g} to {most:g}; {value:g} was given.")
        else:
            return float(value)
        return math.nan

    def flag(self, value: Any, path: str, *, default: bool) -> bool:
        if isinstance(value, bool):
            return value
        self.add(path, "wrong_type", "This must be true or false.")
        return default

    def text(self, value: Any, path: str, most: int = 2_000) -> str:
        if isinstance(value, str) and 0 < len(value) <= most:
            return value
        self.add(path, "wrong_type", f"This must be a text of at most {most:,} letters.")
        return ""

    def choice(self, value: Any, path: str, kind: type[Choice]) -> Choice | None:
        if isinstance(value, str) and value in {str(member) for member in kind}:
            return kind(value)
        self.add(path, "not_allowed", f"This must be one of {', '.join(kind)}.")
        return None

    def mapping(self, value: Any, path: str) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        self.add(path, "wrong_type", "This must be an object with named fields.")
        return {}
