"""Takes values out of a document and writes down what is wrong with each, in the contract's order of stages."""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from math import isfinite
from typing import Any

from mecapy_platform.core.errors import Problem
from mecapy_platform.core.manifest.document import Document, Path

UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all control characters but tab and line feed


class Stage(IntEnum):
    """The order in which problems are told."""

    YAML = 0
    SCHEMA = 1
    KIND = 2
    RESOURCES = 3
    TYPES = 4


@dataclass
class Reader:
    """One reading of one document."""

    document: Document
    _found: list[tuple[Stage, int, Problem]] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        return [problem for _, _, problem in sorted(self._found, key=lambda found: found[:2])]

    def problem(self, path: Path, code: str, message: str, stage: Stage = Stage.SCHEMA) -> None:
        self.problem_at(dotted(path), self.line_of(path), code, message, stage)

    def problem_at(self, path: str, line: int, code: str, message: str, stage: Stage) -> None:
        self._found.append((stage, line, Problem(path, code, f"Line {line}: {message}" if line else message)))

    def line_of(self, path: Path) -> int:
        """The line of a path, or of the nearest block around it."""
        while path and path not in self.document.lines:
            path = path[:-1]
        return self.document.lines.get(path, 0)

    def block(
        self, value: object, path: Path, known: Collection[str], required: Collection[str] = ()
    ) -> dict[str, Any] | None:
        """A mapping with these keys. None when it is none; unknown and missing keys are written down."""
        if not isinstance(value, Mapping):
            self.wrong(path, value, "a mapping")
            return None
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key), list(known), n=1)
                hint = f" Did you mean {near[0]}?" if near else f" Known here: {', '.join(known)}."
                self.problem((*path, key), "unknown_key", f"unknown key {str(key)[:80]!r}.{hint}")
        for key in required:
            if key not in value:
                self.problem((*path, key), "missing_key", f"{dotted((*path, key))} is required.")
        return dict(value)

    def mapping(self, value: object, path: Path, what: str) -> dict[str, Any] | None:
        """A mapping of names that the author chose."""
        if not isinstance(value, Mapping):
            self.wrong(path, value, what)
            return None
        return dict(value)

    def wrong(self, path: Path, value: object, what: str) -> None:
        self.problem(path, "wrong_type", f"{dotted(path) or 'the manifest'} is {_said(value)}; it must be {what}.")

    def text(
        self,
        block: Mapping[str, Any],
        key: str,
        path: Path,
        *,
        pattern: re.Pattern[str] | None = None,
        what: str = "text",
        limit: int = 1000,
        number_as_text: bool = False,
    ) -> str | None:
        """The text under a key, None where it is absent or wrong. A version may stand there without quotes."""
        if key not in block:
            return None
        path, value = (*path, key), block[key]
        if number_as_text and path in self.document.raw:
            value = self.document.raw[path]
        if not isinstance(value, str):
            self.wrong(path, value, what)
        elif len(value) > limit:
            self.problem(path, "too_long", f"{dotted(path)} is longer than {limit} characters.")
        elif UNSEEN.search(value):
            self.problem(path, "bad_value", f"{dotted(path)} holds control characters.")
        elif pattern is not None and not pattern.fullmatch(value):
            self.problem(path, "bad_value", f"{value[:80]!r} is not {what}.")
        else:
            return value
        return None

    def choice(
        self, block: Mapping[str, Any], key: str, path: Path, allowed: Collection[str], *, number_as_text: bool = False
    ) -> str | None:
        value = self.text(block, key, path, what=f"one of {', '.join(allowed)}", number_as_text=number_as_text)
        if value is not None and value not in allowed:
            self.problem((*path, key), "bad_value", f"{value[:80]!r} is not one of {', '.join(allowed)}.")
            return None
        return value

    def flag(self, block: Mapping[str, Any], key: str, path: Path, *, default: bool) -> bool:
        value = block.get(key, default)
        if not isinstance(value, bool):
            self.wrong((*path, key), value, "true or false")
            return default
        return value

    def number(
        self, block: Mapping[str, Any], key: str, path: Path, *, least: float, most: float, whole: bool = True
    ) -> int | float | None:
        if key not in block:
            return None
        value = block[key]
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not isfinite(value):
            self.wrong((*path, key), value, "a whole number" if whole else "a number")
        elif not least <= value <= most:
            self.problem(
                (*path, key),
                "out_of_range",
                f"{dotted((*path, key))} is {value}; it must lie between {least:g} and {most:g}.",
            )
        else:
            return value
        return None

    def texts(
        self, block: Mapping[str, Any], key: str, path: Path, *, what: str, most: int = 50, least: int = 0
    ) -> tuple[str, ...] | None:
        if key not in block:
            return None
        value = block[key]
        if not isinstance(value, list) or not all(
            isinstance(item, str) and len(item) <= 1000 and not UNSEEN.search(item) for item in value
        ):
            self.wrong((*path, key), value, what)
        elif not least <= len(value) <= most:
            self.problem((*path, key), "out_of_range", f"{dotted((*path, key))} must have {least} to {most} items.")
        else:
            return tuple(value)
        return None


def dotted(path: Path) -> str:
    return ".".join(str(key)[:80] for key in path)


def _said(value: object) -> str:
    if value is None:
        return "empty"
    names: dict[type, str] = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a mapping",
    }
    return names.get(type(value), "something else")
