"""Judges an expression for inputs of given types, part by part, and makes of each part what computes it."""

import math
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from mecapy_platform.core.expressions.arithmetic import power, product, total
from mecapy_platform.core.expressions.errors import ExpressionError, nearest
from mecapy_platform.core.expressions.functions import FUNCTIONS
from mecapy_platform.core.expressions.kinds import (
    BOOLEAN,
    INTEGER,
    PURE_FLOAT,
    TEXT,
    BooleanKind,
    ListKind,
    MappingKind,
    NumberKind,
    StructKind,
    TextKind,
    said,
)
from mecapy_platform.core.expressions.tree import (
    BooleanPart,
    CallPart,
    ChainPart,
    ConditionalPart,
    FieldPart,
    IndexPart,
    ListPart,
    NamePart,
    NumberPart,
    Part,
    PowerPart,
    TextPart,
    UnaryPart,
)
from mecapy_platform.core.expressions.typed import Typed, always, as_quantity, guarded, unified
from mecapy_platform.core.expressions.values import Reading, Scope, kind_of
from mecapy_platform.core.types import TypeExpression
from mecapy_platform.core.units import UnitSystem

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Compiler:
    """One expression and the types of what it may read. Depth is bounded by the parser."""

    def __init__(self, types: Mapping[str, TypeExpression], system: UnitSystem) -> None:
        self._types = types
        self._system = system
        self._rules: dict[type, Callable[[Any], Typed]] = {
            NumberPart: _number,
            TextPart: lambda part: Typed(TEXT, always(part.value), part.position, text=part.value),
            BooleanPart: lambda part: Typed(BOOLEAN, always(part.value), part.position),
            NamePart: self._name,
            UnaryPart: self._unary,
            ChainPart: self._chain,
            PowerPart: lambda part: power(self.typed(part.base), self.typed(part.exponent), part.position),
            ConditionalPart: self._conditional,
            CallPart: self._call,
            ListPart: self._list,
            IndexPart: self._index,
            FieldPart: lambda part: self._field(self.typed(part.whole), part.field, part.position),
        }

    def typed(self, part: Part) -> Typed:
        return self._rules[type(part)](part)

    def _name(self, part: NamePart) -> Typed:
        name, position = part.name, part.position
        if name not in self._types:
            if name == "pi" and not part.is_quoted:
                return Typed(PURE_FLOAT, always(math.pi), position)
            message = f"{name[:80]!r} is nothing that can be read here.{nearest(name, self._types)}"
            raise ExpressionError("expression_unknown_name", message, position)
        type_expression, system = self._types[name], self._system
        kind = kind_of(type_expression, name)

        def run(scope: Scope) -> Any:
            if name not in scope.read:
                scope.read[name] = Reading(scope, system).read(type_expression, scope.values.get(name), name)
            return scope.read[name]

        return Typed(kind, run, position)

    def _unary(self, part: UnaryPart) -> Typed:
        inner = self.typed(part.operand)
        run, position = inner.run, part.position
        if part.operator == "not":
            self._truth(inner)
            return Typed(BOOLEAN, lambda scope: not run(scope), position)
        inner = as_quantity(inner)
        run = inner.run
        if not isinstance(inner.kind, NumberKind):
            message = f"{said(inner.kind)} has no sign."
            raise ExpressionError("expression_wrong_type", message, position)
        if part.operator == "+":
            return inner
        constant = None if inner.constant is None else -inner.constant
        return Typed(inner.kind, lambda scope: -run(scope), position, constant)

    def _truth(self, part: Typed) -> None:
        if not isinstance(part.kind, BooleanKind):
            message = f"expected true or false, found {said(part.kind)}; compare it with something."
            raise ExpressionError("expression_wrong_type", message, part.position)

    def _chain(self, part: ChainPart) -> Typed:
        operands = [self.typed(part.first), *(self.typed(operand) for _, operand in part.rest)]
        operators = [name for name, _ in part.rest]
        if operators[0] in {"and", "or"}:
            return self._logic(operators[0], operands)
        if operators[0] in {"+", "-"}:
            return total(operands, operators)
        return product(operands, operators) if operators[0] in {"*", "/", "%"} else self._compare(operands, operators)

    def _logic(self, name: str, operands: list[Typed]) -> Typed:
        for operand in operands:
            self._truth(operand)
        runs, stops_at = [operand.run for operand in operands], name == "or"

        def run(scope: Scope) -> bool:
            return stops_at if any(each(scope) is stops_at for each in runs) else not stops_at

        return Typed(BOOLEAN, run, operands[0].position)

    def _compare(self, operands: list[Typed], operators: list[str]) -> Typed:
        pairs = [
            _membership(first, second, name) if "in" in name else _comparison(first, second, name)
            for first, second, name in zip(operands, operands[1:], operators, strict=False)
        ]
        return Typed(BOOLEAN, lambda scope: all(pair(scope) for pair in pairs), operands[0].position)

    def _conditional(self, part: ConditionalPart) -> Typed:
        test = self.typed(part.test)
        self._truth(test)
        branches = [self.typed(part.then), self.typed(part.other)]
        kind, (then, other) = unified(branches, "the two results of one condition")
        return Typed(kind, lambda scope: (then if test.run(scope) else other).run(scope), part.position)

    def _list(self, part: ListPart) -> Typed:
        kind, items = unified([self.typed(item) for item in part.items], "in one list")
        runs = [item.run for item in items]

        def run(scope: Scope) -> list[Any]:
            scope.spend(len(runs))
            return [each(scope) for each in runs]

        return Typed(ListKind(kind), run, part.position)

    def _call(self, part: CallPart) -> Typed:
        function, position, name = FUNCTIONS[part.function], part.position, part.function
        arguments = [self.typed(argument) for argument in part.arguments]
        if not function.least <= len(arguments) <= function.most:
            wanted = f"{function.least}" if function.least == function.most else f"{function.least} to {function.most}"
            message = f"{name}(..) takes {wanted} argument(s), not {len(arguments)}."
            raise ExpressionError("expression_wrong_type", message, position)
        if function.are_alike and len(arguments) > 1:
            first = arguments if name in {"min", "max"} else arguments[:2]
            kind, first = unified(first, f"compared by {name}(..)")
            arguments = [Typed(kind, each.run, each.position) for each in first] + arguments[len(first) :]
        found = function.rule([argument.kind for argument in arguments])
        if isinstance(found, str):
            kinds = " and ".join(said(argument.kind) for argument in arguments[:3])
            raise ExpressionError("expression_wrong_type", f"{name}(..) {found}; found {kinds}.", position)
        runs = [argument.run for argument in arguments]

        def run(scope: Scope) -> Any:
            values = [each(scope) for each in runs]
            scope.spend(1 + (len(values[0]) if function.reads_list and isinstance(values[0], list) else 0))
            return guarded(position, function.compute, *values)

        return Typed(found, run, position)

    def _index(self, part: IndexPart) -> Typed:
        whole, index = self.typed(part.whole), self.typed(part.index)
        if isinstance(whole.kind, StructKind) and index.text is not None:
            return self._field(whole, index.text, part.position)
        is_whole = isinstance(index.kind, NumberKind) and index.kind in {INTEGER, NumberKind(None, is_integer=True)}
        if isinstance(whole.kind, ListKind) and is_whole:
            return Typed(whole.kind.element, _at(whole, index), part.position)
        if isinstance(whole.kind, MappingKind) and isinstance(index.kind, TextKind):
            return Typed(whole.kind.value, _at(whole, index), part.position)
        message = (
            f"{said(whole.kind)} has no place [{said(index.kind)}]; a list takes a whole number, an object a text."
        )
        raise ExpressionError("expression_wrong_type", message, part.position)

    def _field(self, whole: Typed, field: str, position: int) -> Typed:
        if isinstance(whole.kind, MappingKind):
            return Typed(whole.kind.value, _at(whole, Typed(TEXT, always(field), position)), position)
        if not isinstance(whole.kind, StructKind):
            message = f"{said(whole.kind)} has no field {field[:80]!r}."
            raise ExpressionError("expression_wrong_type", message, position)
        fields = dict(whole.kind.fields)
        if field not in fields:
            message = f"there is no field {field[:80]!r}.{nearest(field, fields)}"
            raise ExpressionError("expression_unknown_name", message, position)

        def run(scope: Scope) -> Any:
            found = whole.run(scope)
            if field not in found:
                raise ExpressionError("expression_missing_value", f"the field {field} has no value.", position)
            return found[field]

        return Typed(fields[field], run, position)


def _number(part: NumberPart) -> Typed:
    value = part.value
    if part.dimension is not None:
        return Typed(NumberKind(part.dimension), always(value), part.position)
    is_integer = isinstance(value, int)
    kind = NumberKind(None, is_integer=is_integer) if value == 0 else INTEGER if is_integer else PURE_FLOAT
    return Typed(kind, always(value), part.position, Fraction(str(value)))


def _comparison(first: Typed, second: Typed, name: str) -> Callable[[Scope], Any]:
    kind, (left, right) = unified([first, second], "compared")
    compare = _COMPARE[name]
    is_order = name not in {"==", "!="}
    if not isinstance(kind, NumberKind) and (is_order or not isinstance(kind, TextKind | BooleanKind)):
        message = f"{said(kind)} cannot be compared by {name}."
        raise ExpressionError("expression_wrong_type", message, second.position)
    return lambda scope: compare(left.run(scope), right.run(scope))


def _membership(first: Typed, second: Typed, name: str) -> Callable[[Scope], Any]:
    if not isinstance(second.kind, ListKind):
        message = f"{name} needs a list behind it, found {said(second.kind)}."
        raise ExpressionError("expression_wrong_type", message, second.position)
    element = Typed(second.kind.element, second.run, second.position)
    kind, (item, _) = unified([first, element], "compared")
    if not isinstance(kind, NumberKind | TextKind | BooleanKind):
        raise ExpressionError("expression_wrong_type", f"{said(kind)} cannot be looked for.", first.position)

    def run(scope: Scope) -> bool:
        values = second.run(scope)
        scope.spend(len(values))
        return (item.run(scope) in values) is (name == "in")

    return run


def _at(whole: Typed, index: Typed) -> Callable[[Scope], Any]:
    def run(scope: Scope) -> Any:
        values, place = whole.run(scope), index.run(scope)
        try:
            return values[place]
        except (LookupError, TypeError):
            size = f"a list of {len(values)}" if isinstance(values, list) else "an object"
            message = f"there is no place {str(place)[:80]!r} in {size}."
            raise ExpressionError("expression_index", message, index.position) from None

    return run
