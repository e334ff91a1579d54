"""What an attack tried and how it was answered. Runs inside the sandbox under test, nowhere else."""

import errno
import select
import sys
from collections.abc import Callable
from json import dumps  # by name: an attack may patch the module
from typing import Any


class Report:
    """`world` is what an insider would know: pids, paths and ports of the host, sentinels that the test has put there."""

    def __init__(self, world: dict[str, Any], *, echo: bool = False) -> None:
        self.world = world
        self.tries: list[dict[str, Any]] = []
        self._echo = echo

    def note(self, what: str, answer: str, *, escaped: bool = False) -> None:
        entry = {"what": what[:200], "answer": answer[:300], "escaped": escaped}
        self.tries.append(entry)
        if self._echo:
            sys.stdout.write(f"TRY {dumps(entry)}\n")
            sys.stdout.flush()

    def refused(self, what: str, call: Callable[..., object], *arguments: Any) -> None:
        """`call` must be refused; an answer is an escape."""
        try:
            answer = call(*arguments)
        except OSError as error:
            self.note(what, name_of(error))
        except (ValueError, ImportError, AttributeError) as error:
            self.note(what, f"{type(error).__name__}: {error}")
        else:
            self.note(what, f"answered {answer!r}", escaped=True)

    def holds(self, what: str, fact: bool, answer: object) -> None:
        self.note(what, str(answer), escaped=not fact)


def name_of(error: OSError) -> str:
    if error.errno is None:
        return str(error) or type(error).__name__
    return errno.errorcode.get(error.errno, str(error.errno))


def pause(seconds: float) -> None:
    """Wait like a calculation that says nothing."""
    select.select([], [], [], seconds)
