"""The seed of a run: chosen anew by each run, printed at its head, settable to see a failure again."""

import os
import random
import secrets

VARIABLE = "MECAPY_TEST_SEED"


def choose() -> str:
    """Settle the seed; the processes that this one starts inherit it, so that all of them collect the same cases."""
    return os.environ.setdefault(VARIABLE, str(secrets.randbelow(1_000_000)))


def seeds(count: int) -> list[int]:
    """So many seeds for cases at random, told by the seed of the run. More of them begin with the same ones."""
    drawn = random.Random(choose())
    return [drawn.randrange(1 << 32) for _ in range(count)]
