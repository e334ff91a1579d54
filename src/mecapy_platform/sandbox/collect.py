"""Lists what a run left below out/, once all its processes are dead.

By descriptors, following no link, counting while reading.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import Collected, Limits, OutputFile, Refusal

MAX_DEPTH = 16
MAX_REFUSALS = 50
MAX_ERROR_BYTES = 1 << 20
BLOCK = 512
FOLDERS = {"file": "files", "artifact": "artifacts"}
ERRORS = ("_runner_error.json", "_error.json")
OURS = frozenset({"files/list.json"})
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass
class Count:
    limits: Limits
    files: int = 0
    size_bytes: int = 0
    over: str = ""
    found: list[OutputFile] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def refuse(self, name: str, reason: str) -> None:
        if len(self.refused) < MAX_REFUSALS:
            self.refused.append(Refusal(name[:500], reason))


def collect_outputs(top: int, limits: Limits) -> Collected:
    """`top` is a descriptor of the run's writable folder, which holds out/."""
    with _out_below(top) as out:
        return collect_from(out, limits)


def collect_from(out: int, limits: Limits) -> Collected:
    """`out` is a descriptor of out/ itself."""
    count = Count(limits)
    result, error = None, None
    with suppress(FileNotFoundError):
        result, count.over = _read_result(out, limits, count)
    left = os.listdir(out)
    for name in ERRORS:
        error = error or (_read_error(out, name) if name in left else None)
    for kind, folder in FOLDERS.items():
        _walk(out, kind, folder, "", 0, count)
    if count.over:
        return Collected(None if "result limit" in count.over else result, error, (), tuple(count.refused), count.over)
    return Collected(
        result, error, tuple(sorted(count.found, key=lambda file: (file.kind, file.name))), tuple(count.refused)
    )


def open_output(top: int, file: OutputFile) -> BinaryIO:
    """Open one collected file below `top`, which holds out/."""
    with _out_below(top) as out:
        return open_output_from(out, file)


@contextmanager
def _out_below(top: int) -> Iterator[int]:
    out = os.open("out", FLAGS | os.O_DIRECTORY, dir_fd=top)
    try:
        yield out
    finally:
        os.close(out)


def open_output_from(out: int, file: OutputFile) -> BinaryIO:
    """Open one collected file, folder by folder, so that no link is followed anywhere on the way."""
    *folders, name = [FOLDERS[file.kind], *file.name.split("/")]
    current = os.dup(out)
    try:
        for folder in folders:
            inner = os.open(folder, FLAGS | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = inner
        fd = os.open(name, FLAGS, dir_fd=current)
    except OSError as error:
        raise SandboxError("output_unreadable", f"The output {file.name} cannot be read: {error.strerror}.") from error
    finally:
        os.close(current)
    return os.fdopen(fd, "rb")


def _walk(parent: int, kind: str, folder: str, prefix: str, depth: int, count: Count) -> None:
    try:
        fd = os.open(folder, FLAGS | os.O_DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError:
        count.refuse(prefix or folder, "not a folder")
        return
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if count.over:
                    return
                _look_at(fd, kind, entry, prefix, depth, count)
    finally:
        os.close(fd)


def _look_at(folder: int, kind: str, entry: "os.DirEntry[str]", prefix: str, depth: int, count: Count) -> None:
    name = f"{prefix}{entry.name}"
    seen = entry.stat(follow_symlinks=False)
    try:
        name.encode()
    except UnicodeEncodeError:
        count.refuse(ascii(name), "the name is not UTF-8")
        return
    if any(ord(character) < 32 for character in entry.name):
        count.refuse(ascii(name), "the name holds control characters")
    elif stat.S_ISDIR(seen.st_mode):
        if depth + 1 >= MAX_DEPTH:
            count.refuse(name, f"folders are nested deeper than {MAX_DEPTH}")
        else:
            _walk(folder, kind, entry.name, f"{name}/", depth + 1, count)
    elif (reason := why_refused(seen)) is not None:
        count.refuse(name, reason)
    elif f"{kind}s/{name}" not in OURS:
        _add(OutputFile(kind, name, seen.st_size), count)


def _add(file: OutputFile, count: Count) -> None:
    count.files += 1
    count.size_bytes += file.size_bytes
    if count.files > count.limits.output_files:
        count.over = endings.over_output_files(count.limits, count.files)
    elif count.size_bytes > count.limits.output_bytes:
        count.over = endings.over_output_bytes(count.limits, count.size_bytes)
    else:
        count.found.append(file)


def why_refused(seen: os.stat_result) -> str | None:
    """Only plain files with one name are collected."""
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    )
    for is_kind, words in kinds:
        if is_kind(seen.st_mode):
            return f"{words}; only regular files are collected"
    if seen.st_nlink != 1:
        return "a hard link; the file has more than one name"
    if seen.st_blocks * BLOCK < seen.st_size:
        return "a sparse file: larger than what was written to it"
    return None


def _read_result(out: int, limits: Limits, count: Count) -> tuple[bytes | None, str]:
    inner = _open_regular("data.json", out, count)
    if inner is None:
        return None, ""
    with os.fdopen(inner, "rb") as file:
        text = file.read(limits.result_bytes + 1)
        if len(text) > limits.result_bytes:
            return None, endings.over_result_bytes(limits, os.fstat(file.fileno()).st_size)
        return text, ""


def _open_regular(name: str, folder: int, count: Count) -> int | None:
    try:
        fd = os.open(name, FLAGS, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:
        count.refuse(name, "not a regular file")
        return None
    if (reason := why_refused(os.fstat(fd))) is not None:
        os.close(fd)
        count.refuse(name, reason)
        return None
    return fd


def _read_error(out: int, name: str) -> dict[str, object] | None:
    unused = Count(Limits(1, 1, 1, 1))
    try:
        fd = _open_regular(name, out, unused)
    except FileNotFoundError:
        return None
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file, suppress(ValueError, RecursionError):
        record = json.loads(file.read(MAX_ERROR_BYTES))
        return record if isinstance(record, dict) else None
    return None
