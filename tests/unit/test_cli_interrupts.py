"""Ctrl-C is not lost where Python forgets what is raised."""

import os
import signal

import pytest

from mecapy_platform.cli.interrupts import Interrupts


class Forgets:
    """Whatever its destructor raises is printed and forgotten."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_in_a_destructor_ends_the_wait_at_the_next_look() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        interrupts.check()
        Forgets()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) is before
