"""Reads YAML into plain values with line numbers: manifests, and the documents of workflows.

Refuses what they have no use for: anchors, tags, several documents.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from mecapy_platform.core.errors import MalformedError, Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000
MERGE = "<<"
Key = str | int
Path = tuple[Key, ...]

_INTEGER = re.compile(r"[+-]?\d{1,19}\Z", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d{1,20}\.\d{0,20}|\.\d{1,20}|\d{1,20}(?=[eE]))([eE][+-]?\d{1,3})?\Z", re.ASCII)
_WORDS: dict[str, object] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Kind:
    """What is read, as refusals name it, and how large it may be."""

    name: str = "mecapy.yml"
    code: str = "manifest_unreadable"
    max_bytes: int = MAX_BYTES
    max_values: int = MAX_NODES
    max_depth: int = MAX_DEPTH

    def unreadable(self, why: str, problems: Sequence[Problem] = ()) -> MalformedError:
        details = " ".join(problem.message for problem in problems[:3])
        return MalformedError(self.code, f"{self.name} cannot be read: {why}. {details}".strip(), problems=problems)


MANIFEST = Kind()


@dataclass(frozen=True)
class Document:
    """The value, the line of each path, and the text of each number as it was written."""

    value: object
    lines: dict[Path, int]
    raw: dict[Path, str]
    duplicates: tuple[tuple[Path, int], ...]


@dataclass
class _Level:
    """A mapping or list being read; `key` is where the next value goes."""

    container: dict[str, object] | list[object]
    path: Path
    key: str | None = None


@dataclass
class _State:
    """What has been read so far; refusals have a line each."""

    kind: Kind
    levels: list[_Level] = field(default_factory=list)
    root: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    raw: dict[Path, str] = field(default_factory=dict)
    duplicates: list[tuple[Path, int]] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    nodes: int = 0
    documents: int = 0


def read_yaml(text: bytes, kind: Kind = MANIFEST) -> Document:
    """Read one YAML document. Raises MalformedError("manifest_unreadable"), its problems name the lines."""
    if len(text) > kind.max_bytes:
        raise kind.unreadable(f"it is larger than {kind.max_bytes // 1024} KiB")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise kind.unreadable(f"line {line} is not UTF-8; save the file as UTF-8") from error
    state = _State(kind)
    try:
        for event in yaml.parse(decoded, Loader=_LOADER):
            _take(state, event)
    except yaml.YAMLError as error:
        raise _syntax(kind, error, decoded) from error
    if state.refused:
        raise kind.unreadable("it uses YAML that is not allowed here", state.refused)
    return Document(state.root, state.lines, state.raw, tuple(state.duplicates))


def _syntax(kind: Kind, error: yaml.YAMLError, text: str) -> MalformedError:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or "it is not YAML"
    if mark is None:
        return kind.unreadable(str(what))
    line = mark.line + 1
    written = text.splitlines()[mark.line : mark.line + 1]
    hint = (
        ' Types with brackets stand in quotes inside { }: "list[Force]".'
        if written and "[" in written[0] and "{" in written[0]
        else ""
    )
    return kind.unreadable(
        f"line {line}: {what}", [Problem("", "yaml_syntax", f"Line {line}, column {mark.column + 1}: {what}.{hint}")]
    )


def _take(state: _State, event: Event) -> None:
    line = event.start_mark.line + 1 if event.start_mark else 0
    if isinstance(event, DocumentStartEvent):
        state.documents += 1
        if state.documents > 1:
            raise state.kind.unreadable(f"line {line} starts a second document")
    if isinstance(event, AliasEvent):
        _refuse(state, line, "yaml_alias", "write the value out instead of an alias (*)")
        _put(state, None, line)
    elif isinstance(event, ScalarEvent):
        _check(state, event, line)
        _scalar(state, event, line)
    elif isinstance(event, MappingStartEvent | SequenceStartEvent):
        _check(state, event, line)
        container: dict[str, object] | list[object] = {} if isinstance(event, MappingStartEvent) else []
        path = _put(state, container, line)
        state.levels.append(_Level(container, path))
        if len(state.levels) > state.kind.max_depth:
            raise state.kind.unreadable(f"line {line} is nested deeper than {state.kind.max_depth} levels")
    elif isinstance(event, MappingEndEvent | SequenceEndEvent):
        state.levels.pop()


def _check(state: _State, event: ScalarEvent | MappingStartEvent | SequenceStartEvent, line: int) -> None:
    state.nodes += 1
    if state.nodes > state.kind.max_values:
        raise state.kind.unreadable(f"it has more than {state.kind.max_values} values")
    if event.anchor is not None:
        _refuse(state, line, "yaml_anchor", "anchors (&) are not allowed")
    if event.tag is not None:
        _refuse(state, line, "yaml_tag", f"tags are not allowed ({event.tag[:60]})")


def _refuse(state: _State, line: int, code: str, what: str) -> None:
    if len(state.refused) < 50:
        state.refused.append(Problem("", code, f"Line {line}: {what}."))


def _scalar(state: _State, event: ScalarEvent, line: int) -> None:
    level = state.levels[-1] if state.levels else None
    if level is not None and isinstance(level.container, dict) and level.key is None:
        if event.value in level.container:
            state.duplicates.append(((*level.path, event.value), line))
        if event.value == MERGE and event.implicit[0]:
            _refuse(state, line, "yaml_merge", "merge keys (<<) are not allowed")
        level.key = event.value
        return
    value = plain_value(event.value) if event.implicit[0] else event.value
    path = _put(state, value, line)
    if isinstance(value, int | float) and not isinstance(value, bool):
        state.raw[path] = event.value


def plain_value(text: str) -> object:
    if text.lower() in _WORDS and text in {text.lower(), text.capitalize(), text.upper()}:
        return _WORDS[text.lower()]
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text


def _put(state: _State, value: object, line: int) -> Path:
    if not state.levels:
        state.root = value
        path: Path = ()
    else:
        level = state.levels[-1]
        if isinstance(level.container, list):
            path = (*level.path, len(level.container))
            level.container.append(value)
        elif level.key is None:
            raise state.kind.unreadable(f"line {line}: a key must be plain text")
        else:
            path = (*level.path, level.key)
            level.container[level.key] = value
            level.key = None
    state.lines[path] = line
    return path
