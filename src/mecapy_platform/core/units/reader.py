"""Reads products of units: `kN/mm2`, `N.m`, `kg·m²·s⁻²`, `W/(m K)`, `tr/min`.

The point, the dots, the cross, a hyphen between names and a space multiply; a solidus divides by the factor after it.
A product after a solidus without parentheses ("W/m.K") has two readings and is refused, as ISO 80000-1 asks.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from mecapy_platform.core.units.errors import QuantityError
from mecapy_platform.core.units.table import PURE, Unit, spellings

_MEANT = {"C": ["°C"], "F": ["°F"]}
MAX_FACTORS = 8
MAX_POWER = 6
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_RAISED = re.compile("[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_SPELLED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[°º˚]\s*(?:C\b|[Cc]elsius)|℃"), " degC "),
    (re.compile(r"[°º˚]\s*(?:F\b|[Ff]ahrenheit)|℉"), " degF "),
    (re.compile(r"[°º˚]\s*K\b"), " K "),
    (re.compile(r"[°º˚]"), " deg "),
    (re.compile(r'"|″|\u201d'), " in "),
    (re.compile("%"), " percent "),
    (re.compile("‰"), " permille "),
    (re.compile(r"\b(?:per|par)\b"), "/"),
    (re.compile("[\u2044\u2215]"), "/"),
    (re.compile("[\u2010\u2011\u2212\u2013]"), "-"),
)
_TOKEN = re.compile(
    r"\s*(?:(?P<name>mmH2O|g0(?!\w)|[^\W\d_]+)|(?P<open>\()|(?P<close>\))|(?P<over>/)|(?P<times>[*·⋅∙•\u00d7.]|-(?=\s*[^\W\d]))|(?P<one>1)(?=\s*/))"
)
_EXPONENT = re.compile(
    r"\s*(?:\^|\*\*)\s*(?P<paren>\()?\s*(?P<marked>[+-]?\d{1,2}(?:[.,]5)?)(?(paren)\s*\))|(?P<close>-?\d{1,2})"
)


def with_carets(text: str) -> str:
    """Superscripts as powers with a caret, and letters in their one composed form."""
    text = unicodedata.normalize("NFC", text).replace("\u00b5", "μ")
    return _RAISED.sub(lambda match: "^" + match[0].translate(_SUPERSCRIPTS), text)


@lru_cache(maxsize=1024)
def read_unit(text: str) -> Unit:
    """The unit that `text` names.

    Raises
    ------
    QuantityError
        "unknown_unit" with what is near, "ambiguous_quantity" with both readings, "unit_mismatch" for a temperature
        scale in a product, "not_a_quantity" for anything else.
    """
    plain = with_carets(text)
    for pattern, spelling in _SPELLED:
        plain = pattern.sub(spelling, plain)
    reader = _Reader(plain.strip().removesuffix("."))
    unit = reader.product()
    reader.end()
    return unit


def is_scale(unit: Unit) -> bool:
    """Whether the unit is a point on a temperature scale, whose zero lies elsewhere."""
    return unit.offset != 0


class _Reader:
    """One unit text, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._factors = 0

    def product(self) -> Unit:
        """Factors up to a closing parenthesis or the end."""
        unit, divides = self._first()
        has_divided = False
        while True:
            unit = self._joined(unit, self._factor(), divides=divides)
            has_divided = has_divided or divides
            token = _TOKEN.match(self._text, self._at)
            if token is None or token["close"]:
                return unit
            divides = token["over"] is not None
            if has_divided and not divides:
                self._two_readings()
            if divides or token["times"]:
                self._at = token.end()

    def end(self) -> None:
        if self._text[self._at :].strip():
            self._refuse()

    def _first(self) -> tuple[Unit | None, bool]:
        """What stands before the first name: nothing, or a division ("1/min", "/min")."""
        token = _TOKEN.match(self._text, self._at)
        if token is not None and token["one"]:
            self._at = token.end()
            token = _TOKEN.match(self._text, self._at)
        if token is not None and token["over"]:
            self._at = token.end()
            return PURE, True
        return None, False

    def _joined(self, unit: Unit | None, factor: Unit, *, divides: bool) -> Unit:
        self._factors += 1
        if self._factors > MAX_FACTORS:
            self._refuse()
        if unit is None:
            return factor
        if is_scale(unit) or is_scale(factor):
            raise QuantityError("unit_mismatch", "a temperature scale cannot stand in a product; write K.")
        return unit * (factor ** Fraction(-1) if divides else factor)

    def _factor(self) -> Unit:
        token = _TOKEN.match(self._text, self._at)
        if token is None or not (token["name"] or token["open"]):
            self._refuse()
        assert token
        self._at = token.end()
        if token["open"]:
            unit = self.product()
            closing = _TOKEN.match(self._text, self._at)
            if closing is None or not closing["close"]:
                self._refuse()
            assert closing
            self._at = closing.end()
        else:
            unit = _named(token["name"])
        return self._raised(unit)

    def _raised(self, unit: Unit) -> Unit:
        match = _EXPONENT.match(self._text, self._at)
        if match is None:
            return unit
        self._at = match.end()
        power = Fraction((match["marked"] or match["close"]).replace(",", "."))
        if not 0 < abs(power) <= MAX_POWER or re.match(r"\d", self._text[self._at :]):
            self._refuse()
        if is_scale(unit) and power != 1:
            raise QuantityError("unit_mismatch", "a temperature scale cannot stand in a product; write K.")
        return unit if power == 1 else unit**power

    def _two_readings(self) -> None:
        before, _, after = self._text.rpartition("/")
        whole = after.strip().strip("()")
        first, *rest = re.split(r"[\s*·⋅∙•\u00d7.]+", whole)
        message = (
            f"a product after / has two readings; write {before.strip()}/({whole}) "
            f"or {before.strip()}*{'*'.join(rest)}/{first}."
        )
        raise QuantityError("ambiguous_quantity", message)

    def _refuse(self) -> None:
        raise QuantityError("not_a_quantity", "This is no product of units.")


def _named(name: str) -> Unit:
    known = spellings()
    if name in known:
        return known[name]
    near = sorted(spelling for spelling in known if spelling.casefold() == name.casefold()) or _MEANT.get(name, [])
    hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
    raise QuantityError("unknown_unit", f"{name!r} is no unit known here.{hint}")
