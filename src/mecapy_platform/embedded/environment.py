"""Takes what is secret out of the environment that every part would inherit and show in its /proc/PID/environ."""

import ctypes
import os
from pathlib import Path

SECRET_VARIABLES = (
    "MECAPY_DATABASE_URL",
    "MECAPY_DATABASE_WORKER_URL",
    "MECAPY_DATABASE_OWNER_URL",
    "MECAPY_BROKER_URL",
    "MECAPY_SIGNING_SECRET",
    "MECAPY_TOKEN",
)
ENVIRONMENT_START, ENVIRONMENT_END = 47, 48  # in /proc/PID/stat, counted after the name


def hide_secrets() -> None:
    """Forget these variables, none of which a launched part takes from its environment, and wipe the block itself.

    A part that is forked shows the block with which the launcher was started, whatever it has changed since.
    """
    for name in SECRET_VARIABLES:
        os.environ.pop(name, None)
    for name, value in tuple(os.environ.items()):
        os.environ[name] = value  # the C library keeps it elsewhere from here on
    values = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(values[ENVIRONMENT_START]), int(values[ENVIRONMENT_END])
    in_use = set(_addresses())
    for address, size in _entries(start, end) if start else ():
        if address not in in_use:
            ctypes.memset(address, 0, size)


def _entries(start: int, end: int) -> list[tuple[int, int]]:
    """Where each text of the block begins, and its length without the zero behind it."""
    found, address = [], start
    for entry in ctypes.string_at(start, end - start).split(b"\0"):
        if entry:
            found.append((address, len(entry)))
        address += len(entry) + 1
    return found


def _addresses() -> list[int]:
    """Where the C library finds each variable."""
    table = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    found: list[int] = []
    while table and (address := table[len(found)]):
        found.append(address)
    return found
