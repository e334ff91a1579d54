"""Cuts the text of an expression into tokens, one character after the other: no pattern that could be made slow."""

import math
from dataclasses import dataclass
from enum import StrEnum

from mecapy_platform.core.expressions.errors import ExpressionError

MAX_NUMBER = 40
MAX_UNIT = 60
MAX_POWER = 4  # characters of an exponent of ten
LARGEST_INTEGER = 2**63 - 1
_MARKS = ("**", "<=", ">=", "==", "!=", "+", "-", "*", "/", "%", "<", ">", "(", ")", "[", "]", ",", ".")
_MEANT = {
    "=": "; == compares",
    "&": "; write and",
    "|": "; write or",
    "!": "; write not",
    "^": "; ** is the power",
    ";": "; a comma stands between arguments",
    "{": "; there are no objects here",
}
_SPELLED = {"\u00d7": "*", "\u00b7": "*", "\u2212": "-", "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u00f7": "/"}
_ESCAPED = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}


class TokenKind(StrEnum):
    NUMBER = "number"
    UNIT = "unit"  # what stands in brackets right behind a number
    TEXT = "text"
    NAME = "name"
    QUOTED_NAME = "quoted name"
    MARK = "mark"
    END = "end"


@dataclass(frozen=True)
class Token:
    kind: TokenKind
    text: str
    position: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """All tokens, with an END behind the last."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        is_unit = text[at] == "[" and bool(found) and found[-1].kind is TokenKind.NUMBER
        token = _unit(text, at) if is_unit else _token(text, at)
        found.append(token)
        at = token.end
    found.append(Token(TokenKind.END, "", len(text), len(text)))
    return found


def _token(text: str, at: int) -> Token:
    here = text[at]
    if _is_digit(here) or (here == "." and _is_digit(text[at + 1 : at + 2])):
        return _number(text, at)
    if here.isalpha() or here == "_":
        end = at
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        return Token(TokenKind.NAME, text[at:end], at, end)
    if here in "\"'":
        return _quoted(text, at)
    if here == "`":
        end = text.find("`", at + 1)
        if end <= at + 1:
            raise ExpressionError("expression_invalid", "this name in backquotes does not end.", at)
        return Token(TokenKind.QUOTED_NAME, text[at + 1 : end], at, end + 1)
    if here in _SPELLED:
        return Token(TokenKind.MARK, _SPELLED[here], at, at + 1)
    for mark in _MARKS:
        if text.startswith(mark, at):
            return Token(TokenKind.MARK, mark, at, at + len(mark))
    raise ExpressionError("expression_invalid", f"{here!r} has no meaning here{_MEANT.get(here, '')}.", at)


def _unit(text: str, at: int) -> Token:
    end = text.find("]", at, at + MAX_UNIT + 2)
    if end < 0:
        message = f"behind a number stands a unit of at most {MAX_UNIT} characters and ], as in 210[MPa]."
        raise ExpressionError("expression_invalid", message, at)
    return Token(TokenKind.UNIT, text[at + 1 : end], at, end + 1)


def _is_digit(character: str) -> bool:
    return bool(character) and character in "0123456789"


def _number(text: str, at: int) -> Token:
    end = _digits(text, at)
    if text[end : end + 1] == ".":
        end = _digits(text, end + 1)
    if text[end : end + 1] in {"e", "E"}:
        power = end + 1 + (text[end + 1 : end + 2] in {"+", "-"})
        if _is_digit(text[power : power + 1]):
            end = _digits(text, power)
    found = text[at:end]
    if len(found) > MAX_NUMBER:
        message = f"a number is written with at most {MAX_NUMBER} characters."
        raise ExpressionError("expression_too_long", message, at)
    follows = text[end : end + 1]
    if follows.isalpha() or follows == "_":
        message = f"a letter follows the number {found}; write 3 * x for a product and 3[mm] for a quantity."
        raise ExpressionError("expression_invalid", message, at)
    _, _, power_text = found.lower().partition("e")
    if (
        len(power_text) > MAX_POWER
        or not math.isfinite(float(found))
        or (found.isdigit() and int(found) > LARGEST_INTEGER)
    ):
        raise ExpressionError("expression_overflow", f"{found} is too large, or too small.", at)
    return Token(TokenKind.NUMBER, found, at, end)


def _digits(text: str, at: int) -> int:
    while _is_digit(text[at : at + 1]):
        at += 1
    return at


def _quoted(text: str, at: int) -> Token:
    quote, found, end = text[at], [], at + 1
    while end < len(text) and text[end] != quote:
        if text[end] == "\\":
            end += 1
            if text[end : end + 1] not in _ESCAPED:
                raise ExpressionError("expression_invalid", r"after \ stands n, t, \ or a quote.", end - 1)
            found.append(_ESCAPED[text[end]])
        else:
            found.append(text[end])
        end += 1
    if end >= len(text):
        raise ExpressionError("expression_invalid", "this quote is not closed.", at)
    return Token(TokenKind.TEXT, "".join(found), at, end + 1)
