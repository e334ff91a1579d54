"""Reads the text of an expression into its parts. Its own grammar: nothing is handed to Python."""

from fractions import Fraction

from mecapy_platform.core.expressions.errors import ExpressionError, nearest
from mecapy_platform.core.expressions.functions import FUNCTIONS
from mecapy_platform.core.expressions.quantities import quantity_of
from mecapy_platform.core.expressions.tokens import Token, TokenKind, tokens_of
from mecapy_platform.core.expressions.tree import (
    BooleanPart,
    CallPart,
    ChainPart,
    ConditionalPart,
    Expression,
    FieldPart,
    IndexPart,
    ListPart,
    NamePart,
    NumberPart,
    Part,
    PowerPart,
    TextPart,
    UnaryPart,
    names_of,
)
from mecapy_platform.core.json_text import bad_text

MAX_BYTES = 4 << 10
MAX_DEPTH = 50
MAX_NESTING = 100  # of parentheses and operands that wait for their right side
MAX_PARTS = 500
WORDS = frozenset({"and", "or", "not", "if", "else", "in", "true", "false", "True", "False"})
_LEVELS = {"or": 0, "and": 1, **dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in", "not in"), 2)}
_LEVELS |= {"+": 3, "-": 3, "*": 4, "/": 4, "%": 4}
_COMPARISON = 2  # `not` stands between it and `and`


def parse(text: str) -> Expression:
    """The expression behind a text.

    Raises
    ------
    ExpressionError
        "expression_too_long" above 4 KiB, "expression_too_deep" above 50 levels or 500 parts, "expression_overflow" for
        a number beyond 64 bits or a float, "expression_unknown_function", "expression_invalid" for anything else that
        is no expression; codes of quantities for a unit that is none. Each with its position.
    """
    if (why := bad_text(text)) is not None:
        raise ExpressionError("expression_invalid", f"{why}.")
    if len(text.encode()) > MAX_BYTES:
        raise ExpressionError("expression_too_long", f"an expression has at most {MAX_BYTES} bytes.")
    root = _Parser(text).whole()
    return Expression(text, root, tuple(dict.fromkeys(part.name for part in names_of(root))))


class _Parser:
    """Counts parts and depth while it descends, so that no text makes it slow or exhausts the stack."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens_of(text)
        self._at = 0
        self._parts = 0
        self._depth = 0

    def whole(self) -> Part:
        if self._is_at_end:
            raise ExpressionError("expression_invalid", "the expression is empty.", 0)
        part = self._expression()
        if not self._is_at_end:
            hint = " A decimal mark is a point." if self._next.text == "," else ""
            raise self._unexpected("an operator or the end", hint)
        return part

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    @property
    def _is_at_end(self) -> bool:
        return self._next.kind is TokenKind.END

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _accept(self, text: str) -> bool:
        kind = TokenKind.NAME if text in WORDS else TokenKind.MARK
        if self._next.kind is kind and self._next.text == text:
            self._at += 1
            return True
        return False

    def _expect(self, text: str, what: str) -> None:
        if not self._accept(text):
            raise self._unexpected(what)

    def _unexpected(self, what: str, hint: str = "") -> ExpressionError:
        token = self._next
        found = "the end" if token.kind is TokenKind.END else repr(token.text[:40])
        return ExpressionError("expression_invalid", f"expected {what}, found {found}.{hint}", token.position)

    def _count(self, part: Part) -> Part:
        self._parts += 1
        if self._parts > MAX_PARTS:
            message = f"an expression has at most {MAX_PARTS} parts; divide it among several nodes."
            raise ExpressionError("expression_too_deep", message, part.position)
        if part.height > MAX_DEPTH:
            raise self._too_deep(part.position)
        return part

    def _too_deep(self, position: int) -> ExpressionError:
        message = f"an expression is nested at most {MAX_DEPTH} deep; divide it among several nodes."
        return ExpressionError("expression_too_deep", message, position)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._too_deep(self._next.position)

    def _expression(self) -> Part:
        then = self._chain(0)
        if self._accept("if"):
            test = self._chain(0)
            self._expect("else", "else, for the other case")
            self._deeper()
            other = self._expression()
            self._depth -= 1
            then = self._count(ConditionalPart(then.position, test, then, other))
        return then

    def _chain(self, least: int) -> Part:
        """Operands joined by operators that bind at least so tightly."""
        self._deeper()
        left = self._negation() if least <= _COMPARISON and self._is_word("not") else self._signed()
        while (operator := self._operator()) is not None and _LEVELS[operator] >= least:
            level = _LEVELS[operator]
            rest: list[tuple[str, Part]] = []
            while operator is not None and _LEVELS[operator] == level:
                self._at += len(operator.split())
                rest.append((operator, self._chain(level + 1)))
                operator = self._operator()
            left = self._count(ChainPart(left.position, left, tuple(rest)))
        self._depth -= 1
        return left

    def _is_word(self, word: str) -> bool:
        return self._next.kind is TokenKind.NAME and self._next.text == word

    def _negation(self) -> Part:
        position = self._take().position
        return self._count(UnaryPart(position, "not", self._chain(_COMPARISON)))

    def _operator(self) -> str | None:
        token = self._next
        if token.kind not in {TokenKind.MARK, TokenKind.NAME}:
            return None
        text = token.text
        if text == "not" and self._tokens[self._at + 1].text == "in":
            text = "not in"
        return text if text in _LEVELS else None

    def _signed(self) -> Part:
        if self._next.kind is TokenKind.MARK and self._next.text in {"-", "+"}:
            token = self._take()
            self._deeper()
            operand = self._signed()
            self._depth -= 1
            return self._count(UnaryPart(token.position, token.text, operand))
        base = self._behind(self._atom())
        if self._next.kind is TokenKind.MARK and self._accept("**"):
            self._deeper()
            exponent = self._signed()
            self._depth -= 1
            return self._count(PowerPart(base.position, base, exponent))
        return base

    def _behind(self, part: Part) -> Part:
        """Fields and indices, which may follow each other."""
        followed = 0
        while True:
            if self._accept("["):
                followed += 1
                self._deeper()
                part = self._count(IndexPart(part.position, part, self._expression()))
                self._expect("]", "] after an index")
            elif self._accept("."):
                followed += 1
                self._deeper()
                if self._next.kind not in {TokenKind.NAME, TokenKind.QUOTED_NAME}:
                    raise self._unexpected("the name of a field")
                part = self._count(FieldPart(part.position, part, self._take().text))
            else:
                self._depth -= followed
                return part

    def _atom(self) -> Part:
        token = self._next
        if token.kind is TokenKind.NUMBER:
            return self._number()
        if token.kind is TokenKind.TEXT:
            return self._count(TextPart(token.position, self._take().text))
        if token.kind is TokenKind.QUOTED_NAME:
            return self._count(NamePart(token.position, self._take().text, is_quoted=True))
        if token.kind is TokenKind.NAME:
            return self._name()
        if self._accept("("):
            part = self._expression()
            self._expect(")", ") for the parenthesis before")
            return part
        if self._accept("["):
            return self._list(token.position)
        raise self._unexpected("a value")

    def _number(self) -> Part:
        token = self._take()
        if self._next.kind is not TokenKind.UNIT:
            value = int(token.text) if token.text.isdigit() else float(token.text)
            return self._count(NumberPart(token.position, value))
        value, dimension = quantity_of(Fraction(token.text), self._take().text, token.position)
        return self._count(NumberPart(token.position, value, dimension))

    def _name(self) -> Part:
        token = self._next
        if token.text in {"true", "false", "True", "False"}:
            return self._count(BooleanPart(token.position, self._take().text.lower() == "true"))
        if token.text in WORDS:
            raise self._unexpected("a value")
        self._take()
        if not self._accept("("):
            return self._count(NamePart(token.position, token.text))
        if token.text not in FUNCTIONS:
            message = f"{token.text[:80]} is no function.{nearest(token.text, FUNCTIONS)}"
            raise ExpressionError("expression_unknown_function", message, token.position)
        return self._count(CallPart(token.position, token.text, self._items(")", "a comma or ) after an argument")))

    def _list(self, position: int) -> Part:
        items = self._items("]", "a comma or ] after an item")
        if not items:
            raise ExpressionError("expression_invalid", "a list has at least one item.", position)
        return self._count(ListPart(position, items))

    def _items(self, closing: str, what: str) -> tuple[Part, ...]:
        if self._accept(closing):
            return ()
        found = [self._expression()]
        while self._accept(","):
            found.append(self._expression())
        self._expect(closing, what)
        return tuple(found)
