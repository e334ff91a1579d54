"""Handlers that start processes of their own, for the contract suite. Standard library only, Python >= 3.10."""

import os
import sys
from pathlib import Path
from typing import Any

HELD: list[Any] = []


def forks(kind: str, waits: bool) -> dict[str, int]:
    """The child leaves this function in some way; the answer is the parent's."""
    pid = os.fork()
    if pid == 0:
        if kind == "raises":
            raise ValueError("only the child")
        if kind == "exits":
            sys.exit(4)
        if kind == "exits_at_once":
            os._exit(5)
        if kind == "grandchild":
            os.fork()
        return {"pid": 0, "code": -1}
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if waits else -1
    return {"pid": pid > 0, "code": code}


def forks_with_open_file() -> dict[str, Any]:
    """What the parent holds in a buffer is written once."""
    file = Path("/workspace/out/artifacts/held.txt").open("w")  # noqa: SIM115 - left open on purpose
    HELD.append(file)
    file.write("once\n")
    pid = os.fork()
    if pid == 0:
        return {"who": "child"}
    os.waitpid(pid, 0)
    return {"who": "parent"}


def values() -> dict[str, Any]:
    from datetime import date
    from decimal import Decimal
    from fractions import Fraction

    return {"day": date(2026, 3, 4), "decimal": Decimal("0.5"), "fraction": Fraction(1, 4), "flag": True}
