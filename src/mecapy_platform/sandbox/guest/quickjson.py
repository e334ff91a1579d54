"""JSON by the interpreter's own C parts, without the `json` package.

Importing that costs each call as much as the rest of the guest.

Where an interpreter's C parts differ, the package is used after all.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from typing import Any


class _Rules:
    """What the C scanner asks of a decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's own, one process lives for one call


def loads(text: str) -> Any:
    """Read one document written by the worker."""
    try:
        import _json

        value, end = _json.make_scanner(_Rules)(text, 0)  # type: ignore[arg-type]
    except (ImportError, AttributeError, TypeError, StopIteration):
        return _package().loads(text)
    return value if not text[end:].strip() else _package().loads(text)


def dumps(value: object) -> str:
    """Write plain values: numbers are finite, keys are text."""
    try:
        import _json

        encode = _json.make_encoder(
            {}, _no_default, _json.encode_basestring_ascii, None, ": ", ", ", False, False, False
        )
        return "".join(encode(value, 0))
    except (ImportError, AttributeError, TypeError):
        text: str = _package().dumps(value, allow_nan=False)
        return text


def _no_default(value: object) -> None:
    raise ValueError(f"{type(value).__name__} has no JSON form")


def _package() -> Any:
    import json

    return json
