"""Reads a Dockerfile as far as judging it needs: which images it starts from, and what it may not ask for."""

import re
from collections.abc import Sequence

from mecapy_platform.core.errors import InvalidInputError

FROM = re.compile(r"FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?\s*", re.IGNORECASE)
COPY_FROM = re.compile(r"--from=(\S+)")
INSTRUCTIONS = frozenset({
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "RUN",
    "SHELL", "STOPSIGNAL",
    "USER", "VOLUME", "WORKDIR",
})  # fmt: skip
UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x85\u2028\u2029]"
)  # separators that our reading and the builder's may take differently
CONTINUED = re.compile(r"\\[ \t]*$")
DIRECTIVE = re.compile(r"\s*#\s*(syntax|escape)\s*=", re.IGNORECASE)
NOTHING = "scratch"


def base_images(dockerfile: str) -> Sequence[str]:
    """The images that a Dockerfile builds upon, without the names of its own stages.

    Raises
    ------
    InvalidInputError
        It hides a base behind a variable, lets the daemon fetch something, or uses what the builder does not offer
        here.
    """
    stages: set[str] = {NOTHING}
    bases: list[str] = []
    for line in _logical_lines(dockerfile):
        instruction, _, rest = line.partition(" ")
        kind = instruction.upper()
        if kind not in INSTRUCTIONS:
            raise _refused(f"{instruction[:40]!r} is no instruction that is allowed here")
        _check_options(kind, rest)
        name, stage = _base(kind, line)
        if name is not None and name.lower() not in stages and not (kind != "FROM" and name.isdigit()):
            bases.append(name)
        if stage:
            stages.add(stage.lower())
    return bases


def _check_options(kind: str, rest: str) -> None:
    if kind == "RUN" and rest.lstrip().startswith("--"):
        raise _refused(f"options of RUN are not supported: {rest.strip()[:80]}")
    if kind == "ADD" and ("://" in rest or "$" in rest or "\\" in rest):
        raise _refused(f"ADD takes files of the package alone, named plainly: {rest.strip()[:80]}")


def _base(kind: str, line: str) -> tuple[str | None, str | None]:
    """What a line builds upon, and the name it gives to its stage."""
    name = stage = None
    if kind == "FROM":
        found = FROM.fullmatch(line)
        if found is None:
            raise _refused(f"this FROM is not understood: {line[:80]}")
        name, stage = found.groups()
    elif kind in {"COPY", "ADD"} and (copied := COPY_FROM.search(line)):
        name = copied.group(1)
    if name is not None and "$" in name:
        raise _refused(f"a base image must be named plainly, without a variable: {name[:80]}")
    return name, stage


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError("dockerfile_refused", f"The Dockerfile is refused: {why}.")


def _logical_lines(text: str) -> Sequence[str]:
    """Lines as the builder joins them.

    Parts of a continued line follow each other directly, without comments and empty ones between.

    Instruction and rest are parted by one space.
    """
    if UNFIT.search(text):
        raise _refused("it holds control characters")
    lines: list[str] = []
    pending: str | None = None
    for raw in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if DIRECTIVE.match(raw):
            raise _refused("directives such as `# syntax=` and `# escape=` are not supported")
        if raw.lstrip().startswith("#") or (pending is not None and not raw.strip()):
            continue
        piece = raw if pending is not None else raw.lstrip()
        whole = (pending or "") + CONTINUED.sub("", piece)
        if CONTINUED.search(piece):
            pending = whole
            continue
        pending = None
        lines.append(whole)
    lines.append(pending or "")
    return [" ".join(line.strip().split(None, 1)) for line in lines if line.strip()]
