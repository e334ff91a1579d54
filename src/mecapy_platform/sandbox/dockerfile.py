"""Reads a Dockerfile, judges it and writes it anew.

The builder gets what we understood, never the bytes we were given. So a line that reader and builder would take
differently has one meaning, ours. Where that could surprise an honest author, the Dockerfile is refused instead.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.core.errors import InvalidInputError

INSTRUCTIONS = frozenset({
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "RUN",
    "SHELL", "STOPSIGNAL",
    "USER", "VOLUME", "WORKDIR",
})  # fmt: skip
MAX_BYTES = 1 << 20
MAX_LINE_BYTES = 60_000  # the builder reads lines of 64 KiB
UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]"
)  # separators that our reading and the builder's may take differently
LONE_RETURN = re.compile(r"\r(?!\n)")
CONTINUED = re.compile(r"\\[ \t]*$")
UNCLEAR_END = re.compile(r"\\[ \t]*\\[ \t]*$")  # a continuation for some builders, an escaped backslash for others
DIRECTIVE = re.compile(r"\s*#\s*(syntax|escape)\s*=", re.IGNORECASE)
WORD = re.compile(r"([A-Za-z]+)(?:[ \t]+(.*))?", re.DOTALL)
PLAIN = "[A-Za-z0-9][A-Za-z0-9._/:@-]*"
FROM = re.compile(
    rf"(?:--platform=({PLAIN})[ \t]+)?({PLAIN})(?:[ \t]+AS[ \t]+([A-Za-z][A-Za-z0-9._-]*))?", re.IGNORECASE
)
FLAG = re.compile(r"--(from|chown|chmod)=([A-Za-z0-9][A-Za-z0-9._/:@-]*)(?:[ \t]+|$)")
HEREDOC = re.compile(r"""(?:^|[\s"'])\d*<<""")
NOTHING = "scratch"


@dataclass(frozen=True)
class Instruction:
    """One instruction: `flags` of COPY and ADD apart, `base` what it builds upon unless that is an own stage."""

    kind: str
    rest: str
    flags: tuple[tuple[str, str], ...] = ()
    base: str | None = None

    def text(self, pins: Mapping[str, str]) -> str:
        """One line. `pins`: name of a base -> the image that was judged under that name."""
        if self.kind == "FROM" and self.base is not None and self.base in pins:
            platform, _base, stage = _from(self.rest)
            words = [f"--platform={platform}" if platform else "", pins[self.base], f"AS {stage}" if stage else ""]
            return " ".join(["FROM", *filter(None, words)])
        pinned = pins.get(self.base or "", self.base)
        flags = [f"--{name}={pinned if name == 'from' and pinned else value}" for name, value in self.flags]
        return " ".join(filter(None, (self.kind, *flags, self.rest)))


@dataclass(frozen=True)
class Dockerfile:
    """What was read."""

    instructions: tuple[Instruction, ...]

    @property
    def bases(self) -> Sequence[str]:
        """The images that it builds upon, without the names of its own stages."""
        return [instruction.base for instruction in self.instructions if instruction.base is not None]

    def text(self, pins: Mapping[str, str] | None = None) -> str:
        return "".join(instruction.text(pins or {}) + "\n" for instruction in self.instructions)


def parse_dockerfile(text: str) -> Dockerfile:
    """Read and judge.

    Raises
    ------
    InvalidInputError
        It hides a base behind a variable, lets the daemon fetch something, uses what the builder does not offer here,
        or has a line that builders read in different ways.
    """
    ended: set[str] = {NOTHING}  # a stage can be named once the next one begins, before that the name is an image's
    current = ""
    found: list[Instruction] = []
    for line in _logical_lines(text):
        kind, rest = _split(line)
        if kind == "FROM":
            ended |= {current} - {""}
            _platform, name, stage = _from(rest)
            current = stage.lower()
            found.append(Instruction(kind, _plain_from(rest), base=None if name.lower() in ended else name))
        else:
            found.append(_judged(kind, rest, ended))
    return Dockerfile(tuple(found))


def base_images(dockerfile: str) -> Sequence[str]:
    """The images that a Dockerfile builds upon; see `parse_dockerfile`."""
    return parse_dockerfile(dockerfile).bases


def read_dockerfile(context: Path, name: str) -> str:
    """The Dockerfile of a package as our reader understood it, one instruction a line."""
    path = context / name
    if not path.resolve().is_relative_to(context.resolve()) or not path.is_file():
        raise InvalidInputError(
            "dockerfile_missing", f"The manifest names {name}, which is not in the build's context."
        )
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InvalidInputError("dockerfile_refused", f"The Dockerfile has more than {MAX_BYTES >> 10} KiB.")
    try:
        return parse_dockerfile(raw.decode("utf-8-sig")).text()
    except UnicodeDecodeError as error:
        raise _refused("it is no UTF-8 text") from error


def _split(line: str) -> tuple[str, str]:
    found = WORD.fullmatch(line)
    kind = "" if found is None else found.group(1).upper()
    if found is None or kind not in INSTRUCTIONS:
        raise _refused(f"{line.split(maxsplit=1)[0][:40]!r} is no instruction that is allowed here")
    return kind, (found.group(2) or "").strip(" \t")


def _judged(kind: str, rest: str, stages: set[str]) -> Instruction:
    if kind in {"RUN", "COPY", "ADD"} and HEREDOC.search(rest):
        raise _refused(f"here-documents are not supported: {rest[:80]}")
    if kind == "RUN" and rest.startswith("--"):
        raise _refused(f"options of RUN are not supported: {rest[:80]}")
    if kind not in {"COPY", "ADD"}:
        return Instruction(kind, rest)
    flags, rest = _flags(rest)
    if kind == "ADD":
        _check_sources(rest)
    origin = dict(flags).get("from")
    is_stage = origin is None or origin.lower() in stages or origin.isdigit()
    return Instruction(kind, rest, flags, None if is_stage else origin)


def _flags(rest: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Options, which the builder would also find behind quotes and backslashes: those are refused."""
    flags: list[tuple[str, str]] = []
    while rest.startswith(("--", '"--', "'--", "\\")):
        found = FLAG.match(rest)
        if found is None:
            if "$" in rest.split(maxsplit=1)[0]:
                raise _refused(f"a base image must be named plainly, without a variable: {rest[:80]}")
            raise _refused(f"an option that is not supported, or not written plainly: {rest[:80]}")
        flags.append((found.group(1), found.group(2)))
        rest = rest[found.end() :]
    return tuple(flags), rest


def _check_sources(rest: str) -> None:
    """ADD fetches what turns out to be an address, also one that quotes or variables put together."""
    words: list[str] = [rest]
    if '"' in rest:
        try:
            words = [str(word) for word in json.loads(rest)]
        except (ValueError, TypeError) as error:
            raise _refused(f"ADD takes files of the package alone, named plainly: {rest[:80]}") from error
    if any(mark in word for word in words for mark in ("://", "$", "\\", "'", '"')) or "\\" in rest:
        raise _refused(f"ADD takes files of the package alone, named plainly: {rest[:80]}")
    if any(piece.lower().startswith(("git@", "http:", "https:")) for word in words for piece in word.split()):
        raise _refused(f"ADD takes files of the package alone, named plainly: {rest[:80]}")


def _from(rest: str) -> tuple[str, str, str]:
    """Platform, name and stage of a FROM; empty where it has none."""
    if "$" in rest:
        raise _refused(f"a base image must be named plainly, without a variable: {rest[:80]}")
    found = FROM.fullmatch(rest)
    if found is None:
        raise _refused(f"this FROM is not understood: {rest[:80]}")
    return found.group(1) or "", found.group(2), found.group(3) or ""


def _plain_from(rest: str) -> str:
    platform, name, stage = _from(rest)
    return " ".join(filter(None, (f"--platform={platform}" if platform else "", name, f"AS {stage}" if stage else "")))


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError("dockerfile_refused", f"The Dockerfile is refused: {why}.")


def _logical_lines(text: str) -> Sequence[str]:
    """Lines as the builder joins them.

    Parts of a continued line follow each other directly, without comments and empty ones between.
    """
    lines: list[str] = []
    pending: str | None = None
    for raw in _physical_lines(text):
        if raw.lstrip(" \t").startswith("#") or (pending is not None and not raw.strip(" \t")):
            continue
        piece = raw if pending is not None else raw.lstrip(" \t")
        whole = (pending or "") + CONTINUED.sub("", piece)
        if CONTINUED.search(piece):
            pending = whole
            continue
        pending = None
        lines.append(whole)
    if pending is not None:
        raise _refused("its last line ends with a backslash")
    for line in lines:
        if len(line.encode()) > MAX_LINE_BYTES:
            raise _refused(f"an instruction has more than {MAX_LINE_BYTES} bytes: {line[:80]}")
        if CONTINUED.search(line):
            raise _refused(f"an instruction ends with a backslash: {line[-80:]}")
    return [line.strip(" \t") for line in lines if line.strip(" \t")]


def _physical_lines(text: str) -> Sequence[str]:
    if UNFIT.search(text):
        raise _refused("it holds control characters")
    if LONE_RETURN.search(text):
        raise _refused("it has carriage returns that end no line; save it with plain line ends")
    lines = text.replace("\r\n", "\n").split("\n")
    for line in lines:
        if DIRECTIVE.match(line):
            raise _refused("directives such as `# syntax=` and `# escape=` are not supported")
        if UNCLEAR_END.search(line) and not line.lstrip(" \t").startswith("#"):
            raise _refused(f"a line ends with two backslashes, which builders read differently: {line.strip()[-80:]}")
    return lines
