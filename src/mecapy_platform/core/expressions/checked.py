"""An expression that holds for its inputs, ready to be computed for many sets of values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mecapy_platform.core.expressions.compiler import Compiler
from mecapy_platform.core.expressions.errors import ExpressionError
from mecapy_platform.core.expressions.kinds import Kind, NumberKind
from mecapy_platform.core.expressions.tree import Expression
from mecapy_platform.core.expressions.typed import Run
from mecapy_platform.core.expressions.values import Scope, misfit, written
from mecapy_platform.core.types import TypeExpression
from mecapy_platform.core.units import UnitSystem

Types = Mapping[str, TypeExpression]


@dataclass(frozen=True)
class Checked:
    """`kind`: what it gives. `wanted`: the type of its result; without it numbers stay in SI."""

    expression: Expression
    kind: Kind
    wanted: TypeExpression | None
    system: UnitSystem
    run: Run

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The result as JSON, in the unit of the wanted type.

        Raises
        ------
        ExpressionError
            "expression_division_by_zero", "expression_overflow", "expression_domain", "expression_index",
            "expression_missing_value", "expression_too_slow", "expression_wrong_type" for a value not of its type.
        """
        found = self.run(Scope(values))
        if self.wanted is not None:
            return written(self.wanted, found, self.system)
        is_real = isinstance(self.kind, NumberKind) and not self.kind.is_integer
        return float(found) if is_real else found


def check(
    expression: Expression, types: Types, wanted: TypeExpression | None = None, system: UnitSystem = UnitSystem.SI
) -> Checked:
    """Judge an expression for the types of what it reads and of what it shall give.

    Parameters
    ----------
    types : what may be read, by name
    wanted : the type of the result; a result of another dimension is refused
    system : the units that values of named types are in, and the result too: those of the package they belong to

    Raises
    ------
    ExpressionError
        "expression_unknown_name", "unit_mismatch" with both units, "expression_wrong_type".
    """
    root = Compiler(types, system).typed(expression.root)
    if wanted is not None and (why := misfit(root.kind, wanted)) is not None:
        code = "unit_mismatch" if isinstance(root.kind, NumberKind) else "expression_wrong_type"
        raise ExpressionError(code, why)
    return Checked(expression, root.kind, wanted, system, root.run)


def infer(expression: Expression, types: Types) -> Kind:
    """What an expression gives for inputs of these types; see `check` for what is refused."""
    return check(expression, types).kind


def evaluate(expression: Expression, values: Mapping[str, Any], types: Types) -> Any:
    """The value of an expression, numbers in SI. `check` once and `Checked.evaluate` where there are many values."""
    return check(expression, types).evaluate(values)
