"""Reads a package's requirements.txt: names and versions from the index, nothing that reaches elsewhere.

`-r FILE` of another file of the package is followed; that file holds to the same rules.
"""

import posixpath
import re
from collections.abc import Callable

from packaging.requirements import InvalidRequirement, Requirement

from mecapy_platform.core.errors import InvalidInputError, Problem

REQUIREMENTS = "requirements.txt"
MAX_BYTES = 256 * 1024
MAX_LINES = 500
MAX_FILES = 20
_INCLUDE = re.compile(r"(?:-r|--requirement)(?:\s+|\s*=\s*|(?=[^-\s=]))(?P<path>\S.*)")


def read_requirements(read: Callable[[str], bytes | None]) -> list[str]:
    """Normalised requirement lines of requirements.txt and of what it includes, in the order in which they stand.

    Parameters
    ----------
    read : the content of a file by its path within the package; None where there is none

    Raises
    ------
    InvalidInputError
        "requirements_missing", "requirements_too_long", or "requirements_invalid" with every problem and its line:
        options, URLs, paths, editable installs, includes of what is not there, outside, or its own includer.
    """
    content = read(REQUIREMENTS)
    if content is None:
        message = f"The manifest says `requirements: true`, but there is no {REQUIREMENTS} at its side."
        raise InvalidInputError("requirements_missing", message)
    reader = _Reader(read)
    reader.file(REQUIREMENTS, content, ())
    if reader.problems:
        raise InvalidInputError("requirements_invalid", f"{REQUIREMENTS} cannot be used.", problems=reader.problems)
    return reader.found


class _Reader:
    """Counts bytes, lines and files over all includes."""

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        self._read = read
        self._bytes = 0
        self._lines = 0
        self._seen: set[str] = set()
        self.found: list[str] = []
        self.problems: list[Problem] = []

    def file(self, name: str, content: bytes, including: tuple[str, ...]) -> None:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            message = f"{name} is not UTF-8: byte {error.start + 1}."
            raise InvalidInputError("requirements_invalid", message) from error
        self._seen.add(name)
        self._bytes += len(content)
        self._lines += text.count("\n")
        if self._bytes > MAX_BYTES or self._lines > MAX_LINES or len(self._seen) > MAX_FILES:
            message = (
                f"{REQUIREMENTS} and what it includes may have {MAX_LINES} lines, {MAX_BYTES >> 10} KiB and "
                f"{MAX_FILES} files."
            )
            raise InvalidInputError("requirements_too_long", message)
        for number, raw in enumerate(text.replace("\\\n", " ").splitlines(), 1):
            line = re.split(r"\s#", raw, maxsplit=1)[0].split("--hash=", 1)[0].strip()
            if line and not line.startswith("#"):
                self._line(line, f"{name}:{number}", (*including, name))

    def _line(self, line: str, path: str, including: tuple[str, ...]) -> None:
        if (include := _INCLUDE.fullmatch(line)) is not None:
            self._include(include["path"].strip().strip("\"'"), path, including)
            return
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            is_option = line.startswith(("-", ".", "/"))
            why = "options and paths are not allowed, -r FILE apart" if is_option else str(error).splitlines()[0]
            self._problem(path, "requirement_invalid", f"{line[:100]!r}: {why}")
            return
        if requirement.url:
            self._problem(path, "requirement_url", f"{line[:100]!r}: only wheels of the package index are allowed.")
            return
        self.found.append(str(requirement))

    def _include(self, target: str, path: str, including: tuple[str, ...]) -> None:
        """The target is relative to the file that names it, as pip reads it."""
        name = posixpath.normpath(posixpath.join(posixpath.dirname(including[-1]), target))
        shown = target[:100]
        if "://" in target or "\\" in target or "\0" in target or name.startswith(("/", "../")) or name in {"..", "."}:
            self._problem(path, "requirement_outside", f"{shown!r} lies outside the package; only its own files count.")
        elif name in including:
            self._problem(path, "requirement_cycle", f"{shown!r} includes itself: {' -> '.join((*including, name))}.")
        elif name in self._seen:
            return
        elif (content := self._read(name)) is None:
            self._problem(path, "requirement_absent", f"{shown!r}: the package holds no file {name}.")
        else:
            self.file(name, content, including)

    def _problem(self, path: str, code: str, message: str) -> None:
        self.problems.append(Problem(path, code, message))
