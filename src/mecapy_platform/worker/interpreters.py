"""Chooses the interpreter for a declared Python version.

That one, or by a setting the nearest newer one, never silently another.
"""

from collections.abc import Mapping

from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.embedded.interpreters import Interpreter


def choose(interpreters: Mapping[str, Interpreter], runtime: str, *, allow_newer: bool) -> Interpreter:
    """`runtime` is a minor version such as "3.12".

    Raises
    ------
    ConfigurationError
        This node has none: its own lack, and no fault of the package.
    """
    found = _found(interpreters, runtime, allow_newer=allow_newer)
    if found is not None:
        return found
    have = ", ".join(sorted(interpreters, key=_key)) or "none"
    raise ConfigurationError(
        "interpreter_missing",
        f"Python {runtime} is not on this node (it has {have}). Declare one of those as runtime.version, ask the "
        f"operator to install Python {runtime}, or to set MECAPY_ALLOW_NEWER_PYTHON=1.",
    )


def can_run(interpreters: Mapping[str, Interpreter], runtime: str, *, allow_newer: bool) -> bool:
    return _found(interpreters, runtime, allow_newer=allow_newer) is not None


def _found(interpreters: Mapping[str, Interpreter], runtime: str, *, allow_newer: bool) -> Interpreter | None:
    if runtime in interpreters:
        return interpreters[runtime]
    newer = sorted((minor for minor in interpreters if _key(minor) > _key(runtime)), key=_key)
    return interpreters[newer[0]] if allow_newer and newer else None


def _key(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))
