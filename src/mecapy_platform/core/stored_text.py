"""Text that tenants' code brought up, made fit to be stored and shown.

PostgreSQL takes no NUL, UTF-8 no half of a surrogate pair.
"""

import re
from typing import Any

MESSAGE_CHARACTERS = 4000
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CUT = " .. [cut]"


def storable(text: str, most: int = MESSAGE_CHARACTERS) -> str:
    """The text with unfit characters replaced, and cut after `most` characters, which is said."""
    fit = _UNFIT.sub(_REPLACEMENT, text[: most + 1])
    return fit if len(fit) <= most else fit[: most - len(_CUT)] + _CUT


def storable_json(value: Any) -> Any:
    """A copy of a JSON value with every text in it, keys included, made storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable_json(item) for item in value]
    return value
