"""Ctrl-C while a command waits."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """Raises KeyboardInterrupt as Python does, and once more at the next `check`.

    What is raised while Python runs a destructor or a callback is printed and forgotten: whoever pressed the keys would
    wait on.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._before: object = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if callable(self._before) or isinstance(self._before, int):
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        if self._is_asked:
            raise KeyboardInterrupt

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._is_asked = True
        raise KeyboardInterrupt
