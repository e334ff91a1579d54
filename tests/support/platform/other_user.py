"""What another local account can open of a folder: tried, not computed from modes."""

import json
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

OUTSIDER = 65533


def opened_by_an_outsider(root: Path) -> list[str]:
    """Every file it can read, folder it can list or write to, and socket it can connect to, relative to `root`.

    The names are those that we see: that a name is hard to guess keeps nobody out.
    """
    names = [str(path) for path in (root, *root.rglob("*"))]
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setresgid(OUTSIDER, OUTSIDER, OUTSIDER)
            os.setresuid(OUTSIDER, OUTSIDER, OUTSIDER)
            with os.fdopen(writing, "w") as told:
                json.dump([name for name in names if _is_open(name)], told)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        found = json.load(told)
    os.waitpid(pid, 0)
    return [str(Path(name).relative_to(root)) for name in found]


def _is_open(name: str) -> bool:
    with suppress(OSError):
        kind = os.lstat(name).st_mode
        if stat.S_ISLNK(kind):
            return False  # what it leads to is asked by its own name
        if stat.S_ISSOCK(kind):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
                knocking.connect(name)
            return True
        if stat.S_ISDIR(kind):
            return os.access(name, os.R_OK) or os.access(name, os.W_OK)
        os.close(os.open(name, os.O_RDONLY | os.O_NONBLOCK))
        return True
    return False
