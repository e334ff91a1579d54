"""The one place where the command line imports late, and the little that every command needs.

Imports nothing but the standard library: `mecapy --version` starts here.
"""

import importlib
from contextvars import ContextVar
from typing import Any

JSON_MODE: ContextVar[bool] = ContextVar("json_mode", default=False)


def resolve(target: str) -> Any:
    """What `module` or `module:attribute` names, imported now."""
    module_name, _, attribute = target.partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, attribute) if attribute else module


def printable(text: str) -> str:
    """Text of others without the control characters that could steer a terminal."""
    return "".join(letter if letter in "\n\t" or letter.isprintable() else repr(letter)[1:-1] for letter in text)
