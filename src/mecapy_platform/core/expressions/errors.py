"""What is wrong with an expression, and where in its text."""

import difflib
from collections.abc import Iterable

from mecapy_platform.core.errors import InvalidInputError, Problem


class ExpressionError(InvalidInputError):
    """A text that is no expression, that does not hold for its inputs, or that cannot be computed with their values.

    `position` counts characters from 0; None where no place can be named.
    """

    def __init__(self, code: str, message: str, position: int | None = None) -> None:
        where = "" if position is None else f"Character {position + 1}: "
        super().__init__(code, where + message, problems=[Problem("expression", code, where + message)])
        self.position = position


def nearest(name: str, known: Iterable[str]) -> str:
    """What follows a wrong name: the one that was probably meant, or the first that are known."""
    names = sorted(known)
    near = difflib.get_close_matches(name[:80], names[:200], n=1)
    if near:
        return f" Did you mean {near[0]}?"
    listed = ", ".join(names[:20]) + (", .." if len(names) > 20 else "")
    return f" Known here: {listed or 'none'}."
