"""Its module forks while it is imported: two processes come back from the import."""

import os

CHILD = os.fork()


def answer() -> dict[str, bool]:
    return {"is_parent": CHILD > 0}
