"""Functions for tests of bounded calls."""

import os

from mecapy_platform.bounded.template import Called


def reverse(called: Called) -> None:
    called.send(called.argument[::-1])


def parent(called: Called) -> None:
    called.send(str(os.getppid()).encode())


def fill_memory(_called: Called) -> None:
    held = []
    while True:
        held.append(bytearray(1 << 20))


def work_without_end_in_one_statement(_called: Called) -> None:
    pow(3, 10**9)  # holds the interpreter for hours


def work_without_end_and_answer_early(called: Called) -> None:
    called.send(b"so far")
    while True:
        pass


def leave(called: Called) -> None:
    called.send(b"so far")
    os._exit(0)


def fail(_called: Called) -> None:
    raise ValueError("of a test")
