"""Any text either is an expression or is refused with a code; arithmetic agrees with Python's own."""

import math
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mecapy_platform.core.expressions import FUNCTIONS, ExpressionError, check, evaluate, parse
from mecapy_platform.core.types import parse_type

TYPES = {
    name: parse_type(kind)
    for name, kind in {
        "a": "Length",
        "b": "Float",
        "n": "Integer",
        "t": "String",
        "l": "list[Force]",
        "s": "Torsor",
        "ok": "Boolean",
    }.items()
}
NAMES = "a b n t l s ok pi c 1 0 2.5 1e300 9223372036854775807 3[mm] 0[degC] 2[rad/s] 'x' `a` true false"
MARKS = "+ - * / % ** < <= == != and or not if else in ( ) [ ] , . .force .moment [0] [-1]"
WORDS = [*f"{NAMES} {MARKS}".split(), '"5 mm"', *(f"{name}(" for name in FUNCTIONS)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["force", "moment", "k"]), inner),
    max_leaves=8,
)


def refusal_of(text: str, values: dict[str, Any]) -> ExpressionError | None:
    """None where the text gives a value. Whatever else is raised fails the test."""
    try:
        check(parse(text), TYPES).evaluate(values)
    except ExpressionError as error:
        return error
    return None


@given(st.text(max_size=300), st.dictionaries(st.sampled_from(sorted(TYPES)), JSON))
@example("3[²]", {})
@example("1[\u0661]", {})
@example("²", {})
@example("a.²", {"a": 1})
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_gives_a_value_or_a_code(text: str, values: dict[str, Any]) -> None:
    refusal = refusal_of(text, values)
    assert refusal is None or (refusal.code and 0 <= (refusal.position or 0) <= len(text))


@given(st.lists(st.sampled_from(WORDS), max_size=40), st.dictionaries(st.sampled_from(sorted(TYPES)), JSON))
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_any_row_of_its_own_words_gives_a_value_or_a_code(words: list[str], values: dict[str, Any]) -> None:
    refusal = refusal_of(" ".join(words), values)
    assert refusal is None or refusal.code


NUMBERS = st.integers(-50, 50).map(str) | st.floats(-1e3, 1e3).map(repr) | st.sampled_from(["b", "n"])


def _joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner).map(" ".join)
    chosen = st.tuples(inner, inner, inner, inner).map(lambda part: "({} if {} < {} else {})".format(*part))
    called = st.tuples(st.sampled_from(["abs", "floor", "sqrt", "exp", "sin"]), inner).map("{0[0]}({0[1]})".format)
    raised = st.tuples(inner, st.sampled_from(["2", "3", "0.5", "-1"])).map("({0[0]}) ** {0[1]}".format)
    return binary | raised | binary.map("({})".format) | inner.map("-{}".format) | chosen | called


PYTHON = {"abs": abs, "floor": math.floor, "sqrt": math.sqrt, "exp": math.exp, "sin": math.sin, "__builtins__": {}}


@given(st.recursive(NUMBERS, _joined, max_leaves=12), st.floats(-10, 10), st.integers(-10, 10))
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_arithmetic_agrees_with_python(text: str, b: float, n: int) -> None:
    values = {"b": b, "n": n}
    refusal = refusal_of(text, values)
    try:
        wanted = eval(text, PYTHON, values)
    except (ArithmeticError, ValueError, TypeError):
        assert refusal is not None
        return
    if refusal is not None:
        limits = {"expression_overflow", "expression_too_deep"}
        assert refusal.code in limits | ({"expression_domain"} if isinstance(wanted, complex) else set())
    else:
        found = evaluate(parse(text), values, TYPES)
        assert found == wanted or math.isclose(found, wanted, rel_tol=1e-12)
