"""Numbers as English, French, German and Swiss engineers write them; nothing is ever evaluated.

The decimal mark is a point or a comma. Thousands stand apart by spaces (ISO 80000: also thin and no-break ones), by
apostrophes, or by the mark that is not the decimal one ("1.234,5", "1,234.5"). A point alone is always the decimal
mark. A comma alone before exactly three digits ("1,234") has two readings and is refused with both.
"""

import re
from fractions import Fraction

from mecapy_platform.core.units.errors import QuantityError

_SPACE = "[ \u00a0\u2007\u2009\u202f]"
_APOSTROPHE = "['\u2019\u02bc]"
_PART = rf"(?P<part>\d{{3}}(?:{_SPACE}\d{{3}})*{_SPACE}\d{{1,3}}(?!\d)|\d{{1,30}})"
_POWER = r"(?:[eE](?P<power>[+-]?\d{1,3}))?"
_BELOW = r"(?:\s*[/\u2044]\s*(?P<below>\d{1,6})(?![\d.,]))?"
_END = rf"{_POWER}(?![.,]?\d){_BELOW}"


def _grouped(separator: str, times: str, decimals: str) -> re.Pattern[str]:
    return re.compile(rf"(?P<whole>[1-9]\d{{0,2}}(?:{separator}\d{{3}}){times})(?!\d){decimals}{_END}", re.ASCII)


# In order: the first that fits wins.
_FORMS = (
    re.compile(
        rf"(?P<mixed>\d{{1,4}}){_SPACE}+(?P<whole>\d{{1,4}})\s*[/\u2044]\s*(?P<below>\d{{1,4}})(?![\d.,])", re.ASCII
    ),
    _grouped(_SPACE, "+", f"(?:[.,]{_PART})?"),
    _grouped(_APOSTROPHE, "+", f"(?:[.,]{_PART})?"),
    _grouped(",", "+", rf"\.{_PART}"),
    _grouped(",", "{2,}", ""),
    _grouped(r"\.", "+", f",{_PART}"),
    _grouped(r"\.", "{2,}", ""),
    re.compile(rf"(?P<whole>\d{{1,30}})(?P<mark>[.,]){_PART}{_END}", re.ASCII),
    re.compile(rf"(?P<whole>\d{{1,30}})\.?{_END}", re.ASCII),
    re.compile(rf"[.,]{_PART}{_END}", re.ASCII),
)
_SIGN = re.compile(r"\s*(?P<sign>[+-]?)\s*")
_TIMES_POWER_OF_TEN = re.compile(r"(?<=\d)\s*[.\u00b7\u22c5\u2219\u00d7*xX]\s*10\s*(?:\^|\*\*)\s*\(?([+-]?\d{1,3})\)?")
_POWER_OF_TEN = re.compile(r"^(\s*[+-]?\s*)10\s*(?:\^|\*\*)\s*\(?([+-]?\d{1,3})\)?(?![\d.,])")


def read_number(text: str) -> tuple[Fraction, str] | None:
    """The exact number that `text` begins with, and what follows it; None where no number stands there.

    Raises
    ------
    QuantityError
        "ambiguous_quantity" for "1,234", with both readings.

    Notes
    -----
    Understands signs (also U+2212), exponents ("1,5e3", "1,5·10^3"), fractions ("3/4", "1 1/2"). `text` is short and
    its superscripts are already written with a caret: the caller sees to both.
    """
    plain = _POWER_OF_TEN.sub(r"\g<1>1e\2", text.replace("\u2212", "-").replace("\u2013", "-"))
    plain = _TIMES_POWER_OF_TEN.sub(r"e\1", plain, count=1)
    sign = _SIGN.match(plain)
    assert sign
    for form in _FORMS:
        match = form.match(plain, sign.end())
        if match is None:
            continue
        found = match.groupdict()
        number = _value(found, text)
        if number is None:
            return None
        return -number if sign["sign"] == "-" else number, plain[match.end() :]
    return None


def _value(found: dict[str, str | None], text: str) -> Fraction | None:
    whole = re.sub(r"\D", "", found.get("whole") or "0")
    part = re.sub(r"\D", "", found.get("part") or "")
    if (
        found.get("mark") == ","
        and re.fullmatch(r"\d{3}", found["part"] or "")
        and re.fullmatch(r"[1-9]\d{0,2}", whole)
    ):
        _refuse(text, f"{whole},{part}", f"{whole}.{part}", f"{whole}{part}")
    number = Fraction(int(whole + part), 10 ** len(part)) * Fraction(10) ** int(found.get("power") or 0)
    below = int(found.get("below") or 1)
    if below == 0:
        return None
    number /= below
    if found.get("mixed") is None:
        return number
    return int(found["mixed"] or 0) + number if number < 1 else None


def _refuse(text: str, written: str, with_point: str, whole: str) -> None:
    shown = text.strip()
    one, other = shown.replace(written, with_point, 1), shown.replace(written, whole, 1)
    message = (
        f"{shown!r} has two readings, {one} (decimal comma) and {other} (comma between thousands); "
        f'write "{one}" or "{other}".'
    )
    raise QuantityError("ambiguous_quantity", message)
