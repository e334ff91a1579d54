"""The live line while a task is waited for: on a terminal one line that changes, elsewhere a line per change.

On stderr.
"""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from mecapy_platform.cli.console import hint, seconds_text
from mecapy_platform.cli.lazy import printable, resolve
from mecapy_platform.client.tasks import Task
from mecapy_platform.core.errors import UnavailableError


class LiveLine:
    """Shows what a task does; quiet when asked to be."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._started = time.monotonic()
        self._last = ""
        is_live = not is_quiet and sys.stderr.isatty()
        self._status: Any = resolve("mecapy_platform.cli.tables:TerminalLine")("submitting") if is_live else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def look(self, task: Task) -> None:
        if not task.state.is_final:
            self._show(describe(task))

    def broken(self, error: UnavailableError) -> None:
        self._show(f"platform away, trying again ({error.code})")

    def _show(self, text: str) -> None:
        if self._is_quiet:
            return
        if self._status:
            self._status.update(f"{printable(text)} · {seconds_text(time.monotonic() - self._started)}")
        elif text != self._last:
            hint(text)
        self._last = text


def describe(task: Task) -> str:
    """The state of a task in a few words: why it waits, how far it is."""
    if task.state == "queued" and task.waiting:
        return f"queued: {task.waiting.message}"
    if task.state == "running" and task.progress:
        return f"running · {progress_text(task.progress)}"
    return task.state.value


def progress_text(progress: Mapping[str, Any]) -> str:
    """`step 2 of 5, solving` from a progress record; fields it does not know are left out."""
    parts = []
    if "step" in progress:
        total = f" of {progress['total']}" if progress.get("total") is not None else ""
        parts.append(f"step {progress['step']}{total}")
    if progress.get("message"):
        parts.append(str(progress["message"]))
    return ", ".join(parts)
