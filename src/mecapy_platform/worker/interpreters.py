"""Chooses the interpreter for a declared Python version.

That one, or by a setting the nearest newer one, never silently another.
"""

from collections.abc import Mapping

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.embedded.interpreters import Interpreter


def choose(interpreters: Mapping[str, Interpreter], runtime: str, *, allow_newer: bool) -> Interpreter:
    """`runtime` is a minor version such as "3.12"."""
    if runtime in interpreters:
        return interpreters[runtime]
    newer = sorted((minor for minor in interpreters if _key(minor) > _key(runtime)), key=_key)
    if allow_newer and newer:
        return interpreters[newer[0]]
    have = ", ".join(sorted(interpreters, key=_key)) or "none"
    raise InvalidInputError(
        "interpreter_missing",
        f"Python {runtime} is not on this platform (it has {have}). Declare one of those as runtime.version, ask the "
        f"operator to install "
        f"Python {runtime}, or to set MECAPY_ALLOW_NEWER_PYTHON=1.",
    )


def _key(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))
