"""What a process of a test run starts once and ends after its last case: tests/conftest.py closes it."""

from contextlib import ExitStack

KEPT_TO_THE_END = ExitStack()
