"""Reads type expressions, as text (`dict[str, list[Force]]`) or as a mapping (a struct); says all that is wrong."""

import difflib
import json
import re
from collections.abc import Mapping
from math import isfinite

from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.types.catalog import CATALOG
from mecapy_platform.core.types.expressions import (
    DictType,
    FileType,
    ListType,
    LiteralType,
    LiteralValue,
    NamedType,
    StructType,
    TypeExpression,
    UnitType,
)
from mecapy_platform.core.units import QuantityError, read_unit

MAX_TEXT = 2_000
MAX_DEPTH = 12
MAX_PARTS = 200
MAX_UNIT = 60
EXTENSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,15}\Z")
FIELD = re.compile(r"[^\W\d]\w{0,63}\Z")
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<mark>[\[\]{},:])|(?P<word>[^\s\[\]{},:"']+))"""
)
_NUMBER = re.compile(r"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,3})?\Z")
_WORDS: dict[str, LiteralValue] = {"true": True, "false": False, "True": True, "False": False}


class _SyntaxError(Exception):
    """The text stops making sense here; the message says what was expected."""


def parse_type(expression: object, path: str = "type") -> TypeExpression:
    """Parse a type or raise InvalidInputError("type_invalid") with every problem, each with its path."""
    problems: list[Problem] = []
    kind = read_type(expression, path, problems)
    if kind is None or problems:
        raise InvalidInputError("type_invalid", " ".join(problem.message for problem in problems), problems=problems)
    return kind


def read_type(expression: object, path: str, problems: list[Problem]) -> TypeExpression | None:
    """Parse a type; what is wrong with it goes to `problems`, and the answer is then None or incomplete."""
    return _Reader(problems).any(expression, path, 0)


class _Reader:
    """Counts parts over the whole expression; one broken text gives one problem, unknown names give one each."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._parts = 0

    def any(self, expression: object, path: str, depth: int) -> TypeExpression | None:
        if isinstance(expression, str):
            return self._text(expression, path, depth)
        if isinstance(expression, Mapping):
            return self._mapping(expression, path, depth)
        return self._problem(
            path, "type_invalid", "A type is text such as Length or list[Force], or a mapping of field names to types."
        )

    def _problem(self, path: str, code: str, message: str) -> TypeExpression | None:
        self._problems.append(Problem(path, code, message))
        nothing: TypeExpression | None = None
        return nothing

    def _mapping(self, fields: Mapping[object, object], path: str, depth: int) -> TypeExpression | None:
        if not fields:
            return self._problem(path, "type_invalid", "A struct has at least one field: {F: Force3}.")
        if not self._count(path, depth):
            return None
        read = []
        optional = set()
        for written, kind in fields.items():
            name = written.removesuffix("?") if isinstance(written, str) else written
            if name != written:
                optional.add(str(name))
            if not isinstance(name, str) or not FIELD.match(name):
                self._problem(
                    path, "bad_field_name", f"{str(name)[:80]!r} is no field name; use letters, digits and underscores."
                )
                continue
            if (found := self.any(kind, f"{path}.{name}", depth + 1)) is not None:
                read.append((name, found))
        return StructType(tuple(read), frozenset(optional)) if len(dict(read)) == len(fields) else None

    def _count(self, path: str, depth: int) -> bool:
        self._parts += 1
        if depth > MAX_DEPTH:
            self._problem(path, "type_too_deep", f"The type is nested deeper than {MAX_DEPTH} levels.")
        elif self._parts > MAX_PARTS:
            if self._parts == MAX_PARTS + 1:
                self._problem(path, "type_too_long", f"The type has more than {MAX_PARTS} parts.")
        else:
            return True
        return False

    def _text(self, text: str, path: str, depth: int) -> TypeExpression | None:
        if len(text) > MAX_TEXT:
            return self._problem(path, "type_too_long", f"The type is longer than {MAX_TEXT} characters.")
        try:
            tokens = _Tokens(text)
            kind = self._expression(tokens, path, depth)
            tokens.end()
        except _SyntaxError as error:
            return self._problem(path, "type_invalid", f"{text[:120]!r} is no type: {error}.")
        return kind

    def _expression(self, tokens: "_Tokens", path: str, depth: int) -> TypeExpression | None:
        if not self._count(path, depth):
            raise _SyntaxError("it is too large")
        if tokens.accept("{"):
            return self._struct(tokens, path, depth)
        word = tokens.word("a type name")
        lower = word.lower()
        if lower in {"file", "float"} and tokens.accept("["):
            return FileType(self._extensions(tokens, path)) if lower == "file" else self._unit(tokens, path)
        if lower in {"list", "dict", "literal"}:
            tokens.expect("[", f"[ after {word}")
        if lower == "list":
            element = self._expression(tokens, f"{path}.element", depth + 1)
            tokens.expect("]", "] at the end of list[..]")
            return element and ListType(element)
        if lower == "dict":
            return self._dict(tokens, path, depth)
        if lower == "literal":
            return LiteralType(_literals(tokens))
        return FileType() if lower == "file" else self._name(word, path)

    def _unit(self, tokens: "_Tokens", path: str) -> TypeExpression | None:
        unit = tokens.words("]", "a unit such as N/m")
        try:
            if len(unit) > MAX_UNIT:
                return self._problem(path, "bad_unit", f"A unit has at most {MAX_UNIT} characters.")
            if read_unit(unit).offset:
                why = f"{unit} is a scale; use the type Temperature, or Float[K] for a difference."
                return self._problem(path, "bad_unit", why)
        except QuantityError as error:
            return self._problem(path, "bad_unit", f"{unit!r} is no unit for Float[..]: {error}")
        return UnitType(unit)

    def _name(self, word: str, path: str) -> TypeExpression | None:
        if word in CATALOG:
            return NamedType(word)
        near = next((name for name in CATALOG if name.lower() == word.lower()), None)
        near = near or next(iter(difflib.get_close_matches(word, list(CATALOG), n=1)), None)
        hint = f" Did you mean {near}?" if near else " `mecapy types` lists the catalog."
        return self._problem(path, "unknown_type", f"{word[:80]} is no type of the catalog.{hint}")

    def _dict(self, tokens: "_Tokens", path: str, depth: int) -> TypeExpression | None:
        if tokens.word("str as the type of the keys").lower() not in {"str", "string"}:
            raise _SyntaxError("keys of a dict are str: dict[str, Float]")
        tokens.expect(",", "a comma after str")
        value = self._expression(tokens, f"{path}.value", depth + 1)
        tokens.expect("]", "] at the end of dict[..]")
        return value and DictType(value)

    def _struct(self, tokens: "_Tokens", path: str, depth: int) -> TypeExpression | None:
        fields: dict[str, TypeExpression | None] = {}
        optional = set()
        while True:
            written = tokens.string_or_word("a field name")
            name = written.removesuffix("?")
            if not FIELD.match(name):
                raise _SyntaxError(f"{name[:80]!r} is no field name")
            if name in fields:
                raise _SyntaxError(f"the field {name} stands there twice")
            tokens.expect(":", f"a colon after {name}")
            fields[name] = self._expression(tokens, f"{path}.{name}", depth + 1)
            if name != written:
                optional.add(name)
            if not tokens.comma_or("}"):
                break
        whole = tuple((name, kind) for name, kind in fields.items() if kind is not None)
        return StructType(whole, frozenset(optional)) if len(whole) == len(fields) else None

    def _extensions(self, tokens: "_Tokens", path: str) -> tuple[str, ...]:
        found: list[str] = []
        while True:
            word = tokens.word("an extension")
            if not EXTENSION.match(word):
                self._problem(
                    path, "bad_extension", f"{word[:80]!r} is no file extension; write it without dot: File[step,iges]."
                )
            if word.lower() not in found:
                found.append(word.lower())
            if not tokens.comma_or("]"):
                return tuple(found)


def _literals(tokens: "_Tokens") -> tuple[LiteralValue, ...]:
    found: list[LiteralValue] = []
    while True:
        value = tokens.literal()
        if any(value == other and type(value) is type(other) for other in found):
            raise _SyntaxError(f"{value} stands there twice")
        found.append(value)
        if not tokens.comma_or("]"):
            return tuple(found)


class _Tokens:
    """The words and marks of a text, read one by one."""

    def __init__(self, text: str) -> None:
        self._found: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise _SyntaxError(f"a quote at character {position + 1} is not closed")
            assert match.lastgroup
            self._found.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        self._at = 0

    def _next(self) -> tuple[str, str]:
        return self._found[self._at] if self._at < len(self._found) else ("end", "the end")

    def accept(self, mark: str) -> bool:
        if self._next() == ("mark", mark):
            self._at += 1
            return True
        return False

    def expect(self, mark: str, what: str) -> None:
        if not self.accept(mark):
            raise _SyntaxError(f"expected {what}, found {self._next()[1][:40]}")

    def comma_or(self, closing: str) -> bool:
        """True when another item follows."""
        if self.accept(","):
            return True
        self.expect(closing, f"a comma or {closing}")
        return False

    def word(self, what: str) -> str:
        kind, text = self._next()
        if kind != "word":
            raise _SyntaxError(f"expected {what}, found {text[:40]}")
        self._at += 1
        return text

    def words(self, closing: str, what: str) -> str:
        """Words up to a closing mark, which is taken too."""
        found = [self.word(what)]
        while not self.accept(closing):
            found.append(self.word(f"{closing} after {what}"))
        return " ".join(found)

    def string_or_word(self, what: str) -> str:
        kind, text = self._next()
        if kind == "string":
            self._at += 1
            return _unquoted(text)
        return self.word(what)

    def literal(self) -> LiteralValue:
        if self._next()[0] == "string":
            return self.string_or_word("a value")
        words = [self.word("a value")]
        while self._next()[0] == "word":
            words.append(self.word("a value"))
        return _value(" ".join(words))

    def end(self) -> None:
        if self._at < len(self._found):
            raise _SyntaxError(f"there is something after its end: {self._next()[1][:40]}")


def _unquoted(text: str) -> str:
    if text[0] == "'":
        text = '"' + text[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _SyntaxError(f"{text[:40]} is no quoted text") from error
    assert isinstance(value, str)
    return value


def _value(text: str) -> LiteralValue:
    if text in _WORDS:
        return _WORDS[text]
    if not _NUMBER.match(text):
        return text
    number = float(text)
    if not isfinite(number):
        raise _SyntaxError(f"{text} is too large")
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else number
