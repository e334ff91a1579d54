"""Reads one JSON value as one type; what is wrong is collected with its path."""

import math
from collections.abc import Mapping
from typing import Any

from mecapy_platform.core.errors import Problem
from mecapy_platform.core.json_text import bad_text
from mecapy_platform.core.types import (
    CATALOG,
    DictType,
    ListType,
    LiteralType,
    NamedType,
    StructType,
    TypeExpression,
    UnitType,
    is_number,
)
from mecapy_platform.core.types.connections import TORSOR_SHORT
from mecapy_platform.core.types.expressions import literal_text
from mecapy_platform.core.units import UNITS, QuantityError, UnitSystem, in_unit, to_number

LARGEST_INTEGER = 2**63 - 1


class ValueReader:
    """Texts with units are numbers in inputs only: a handler returns numbers."""

    def __init__(self, units: UnitSystem, *, is_output: bool = False) -> None:
        self._units = units
        self._is_output = is_output
        self.problems: list[Problem] = []

    def problem(self, path: str, code: str, message: str) -> None:
        self.problems.append(Problem(path[:500], code, message))

    def read(self, kind: TypeExpression, value: Any, path: str) -> Any:
        """The value as the handler gets it; after a problem the answer has no meaning."""
        if isinstance(kind, ListType):
            return self._list(kind.element, value, path)
        if isinstance(kind, DictType):
            return self._dict(kind, value, path)
        if isinstance(kind, StructType):
            return self._struct(dict(kind.fields), value, path, kind.optional)
        if isinstance(kind, LiteralType):
            return self._literal(kind, value, path)
        if isinstance(kind, UnitType):
            return self._with_unit(kind, value, path)
        assert isinstance(kind, NamedType), "files are handled by the caller"
        return self._named(kind.name, value, path)

    def any_json(self, value: Any, path: str) -> Any:
        """JSON of any shape, with numbers and texts that can be stored. Its depth is limited by the caller."""
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, Mapping):
            return {self._key(key, path): self.any_json(inner, f"{path}.{key}") for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.any_json(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(value, path)
        if value is not None and not isinstance(value, bool):
            self.problem(path, "wrong_type", f"{path} is {type(value).__name__}, which is no JSON.")
        return value

    def _wrong(self, path: str, value: Any, what: str) -> None:
        self.problem(path, "wrong_type", f"{path} is {said(value)}; it must be {what}.")

    def _named(self, name: str, value: Any, path: str) -> Any:
        if name in UNITS or is_number(name):
            return self._quantity(name, value, path)
        readers = {
            "String": self._string,
            "Boolean": self._boolean,
            "Matrix": self._matrix,
            "Array": self._array,
            "Torsor": self._torsor,
            "Object": self.any_json,
        }
        if name in readers:
            return readers[name](value, path)
        return self._vector(name, value, path)

    def _quantity(self, name: str, value: Any, path: str) -> Any:
        if isinstance(value, str) and name in UNITS and not self._is_output:
            try:
                return to_number(value, name, self._units)
            except QuantityError as error:
                self.problem(path, error.code, f"{path}: {error}")
                return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            example = f', such as 0.5 or "{UNITS[name][2]}"' if name in UNITS and not self._is_output else ""
            self._wrong(path, value, f"{'a whole number' if name == 'Integer' else 'a number'} ({name}){example}")
            return None
        number = self._number(value, path)
        if name != "Integer" or number is None:
            return number
        if number != int(number):
            self._wrong(path, value, "a whole number (Integer)")
            return None
        return int(number)

    def _with_unit(self, kind: UnitType, value: Any, path: str) -> Any:
        """A number is in the unit of the type; a text is converted to it."""
        if isinstance(value, str) and not self._is_output:
            try:
                return in_unit(value, kind.unit)
            except QuantityError as error:
                self.problem(path, error.code, f"{path}: {error}")
                return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            example = "" if self._is_output else f', such as 0.5 or "5 {kind.unit}"'
            return self._wrong_value(path, value, f"a number ({kind}){example}")
        return self._number(value, path)

    def _number(self, value: float, path: str) -> float | None:
        if isinstance(value, float) and not math.isfinite(value):
            self.problem(path, "not_finite", f"{path} is {value}; only finite numbers are JSON.")
        elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            self.problem(path, "out_of_range", f"{path} is a whole number beyond 64 bits.")
        else:
            return value
        return None

    def _text(self, value: str, path: str) -> str:
        if (why := bad_text(value)) is not None:
            self.problem(path, "bad_text", f"{path}: {why}.")
        return value

    def _key(self, key: Any, path: str) -> str:
        if not isinstance(key, str):
            self._wrong(path, key, "an object with text as keys")
        return self._text(str(key), path)

    def _string(self, value: Any, path: str) -> Any:
        if not isinstance(value, str):
            return self._wrong_value(path, value, "text (String)")
        return self._text(value, path)

    def _boolean(self, value: Any, path: str) -> Any:
        return value if isinstance(value, bool) else self._wrong_value(path, value, "true or false (Boolean)")

    def _wrong_value(self, path: str, value: Any, what: str) -> Any:
        self._wrong(path, value, what)
        return None

    def _list(self, element: TypeExpression, value: Any, path: str) -> Any:
        if not isinstance(value, list | tuple):
            return self._wrong_value(path, value, f"a list of {element}")
        return [self.read(element, inner, f"{path}[{index}]") for index, inner in enumerate(value)]

    def _dict(self, kind: DictType, value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong_value(path, value, f"an object with {kind.value} values")
        return {self._key(key, path): self.read(kind.value, inner, f"{path}.{key}") for key, inner in value.items()}

    def _struct(
        self,
        fields: Mapping[str, TypeExpression],
        value: Any,
        path: str,
        optional: frozenset[str] = frozenset(),
    ) -> Any:
        shape = str(StructType(tuple(fields.items()), optional))[1:-1]
        if not isinstance(value, Mapping):
            return self._wrong_value(path, value, f"an object {{{shape}}}")
        if set(fields) == set(TORSOR_SHORT) and set(value) == set(TORSOR_SHORT.values()):
            value = {short: value[name] for short, name in TORSOR_SHORT.items()}
        for name in fields:
            if name not in value and name not in optional:
                self.problem(f"{path}.{name}", "missing_field", f"{path} lacks the field {name}.")
        read = {}
        for name, inner in value.items():
            if name in optional and inner is None and not self._is_output:
                continue  # null is left out, as at a port that is not required
            if name in fields:
                read[name] = self.read(fields[name], inner, f"{path}.{name}")
            else:
                self.problem(
                    f"{path}.{name}", "unknown_field", f"{path} has no field {str(name)[:80]!r}; it is {{{shape}}}."
                )
        return read

    def _literal(self, kind: LiteralType, value: Any, path: str) -> Any:
        for allowed in kind.values:
            if value == allowed and isinstance(value, bool) == isinstance(allowed, bool):
                return allowed
        for allowed in kind.values:
            if isinstance(value, str) and value.strip() == literal_text(allowed):
                return allowed
            if not self._is_output and isinstance(value, int | float) and str(value) == allowed:
                return allowed
        shown = repr(value)[:80] if isinstance(value, str | int | float) else said(value)
        self.problem(
            path, "not_allowed", f"{path} is {shown}; allowed are {', '.join(str(item) for item in kind.values)}."
        )
        return None

    def _vector(self, name: str, value: Any, path: str) -> Any:
        entry = CATALOG[name]
        assert entry.element_type is not None
        if not isinstance(value, list | tuple) or len(value) != entry.length:
            return self._wrong_value(path, value, f"a list of {entry.length} numbers, [x, y, z] ({name})")
        return self._list(NamedType(entry.element_type), value, path)

    def _matrix(self, value: Any, path: str) -> Any:
        rows = value if isinstance(value, list | tuple) else ()
        if not rows or not all(isinstance(row, list | tuple) and len(row) == len(rows[0]) for row in rows):
            return self._wrong_value(path, value, "a list of rows of numbers, all of one length (Matrix)")
        return [self._list(NamedType("Float"), row, f"{path}[{index}]") for index, row in enumerate(rows)]

    def _array(self, value: Any, path: str) -> Any:
        """Numbers, or lists of one length at each depth."""
        if not isinstance(value, list | tuple):
            return self._quantity("Float", value, path)
        read = [self._array(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
        if len({_shape(inner) for inner in value}) > 1:
            self._wrong(path, value, "lists of numbers, all of one length at each depth (Array)")
        return read

    def _torsor(self, value: Any, path: str) -> Any:
        if isinstance(value, Mapping) and set(value) == set(TORSOR_SHORT):
            value = {name: value[short] for short, name in TORSOR_SHORT.items()}
        fields = CATALOG["Torsor"].fields
        assert fields is not None
        return self._struct({name: NamedType(kind) for name, kind in fields.items()}, value, path)


def said(value: Any) -> str:
    """What a value is, in a person's words."""
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    name = names.get(type(value), type(value).__name__)
    return f"{name} ({value!r})"[:80] if isinstance(value, int | float | str) else name


def _shape(value: Any) -> tuple[int, ...]:
    """How many at each depth, judged by the first: the rest is compared with it where it stands."""
    return (len(value), *(_shape(value[0]) if value else ())) if isinstance(value, list | tuple) else ()
