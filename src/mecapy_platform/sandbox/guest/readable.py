"""Makes what a run left readable to the worker; done as the run's own user, once all its processes are dead.

Standard library only.
"""

from __future__ import annotations

import os

MAX_DEPTH = 20


def open_to_reader(top: int) -> None:
    """`top` is a descriptor of the folder that holds out/; no link is followed."""
    _open_folder("out", top, 0)


def _open_folder(name: str, parent: int, depth: int) -> None:
    os.chmod(name, 0o755, dir_fd=parent)  # noqa: S103 - read by the worker's user through a descriptor
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if depth < MAX_DEPTH:
                        _open_folder(entry.name, folder, depth + 1)
                elif (
                    entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mode & 0o444 != 0o444
                ):
                    os.chmod(entry.name, 0o644, dir_fd=folder)
    finally:
        os.close(folder)
