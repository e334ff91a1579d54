"""Keeps what a person wrote beside a graph: comments, blank lines and the form of nodes that stay as they are."""

from dataclasses import dataclass

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.workflows.documents.difference import are_same
from mecapy_platform.core.workflows.documents.reading import read_document
from mecapy_platform.core.workflows.documents.record import WorkflowDocument
from mecapy_platform.core.workflows.documents.writing import head_lines, node_blocks, write_document


@dataclass(frozen=True)
class _Block:
    """The lines of one node: comments above it, and itself with what stands inside."""

    above: list[str]
    own: list[str]


def updated(text: str, document: WorkflowDocument) -> str:
    """The text of a document, with as much of an older `text` as still holds; all of it where the graph is the same."""
    plain = write_document(document)
    try:
        before = read_document(text.encode()).checked()
    except MecapyError:
        return plain
    if are_same(before, document):
        return text
    merged = _merged(text, before, document)
    if merged is None:
        return plain
    try:
        holds = are_same(read_document(merged.encode()).checked(), document)
    except MecapyError:
        return plain
    return merged if holds else plain


def _merged(text: str, before: WorkflowDocument, after: WorkflowDocument) -> str | None:
    """None where the older text has another shape than ours."""
    cut = _cut(text.splitlines(), [node["node_key"] for node in before.graph["nodes"]])
    if cut is None:
        return None
    head, old = cut
    was, now = node_blocks(before), node_blocks(after)
    if head_lines(before) != head_lines(after):
        head = [line for line in head if line.lstrip().startswith("#")] + [*head_lines(after), "nodes:"]
    lines = list(head)
    for key, own in now.items():
        block = old.get(key, _Block([], own))
        lines += [*block.above, *(block.own if was.get(key) == own else own)]
    return "\n".join(lines) + "\n"


def _cut(lines: list[str], keys: list[str]) -> tuple[list[str], dict[str, _Block]] | None:
    """Head and blocks; None where nodes do not stand below each other at one depth, last in the file."""
    start = next((place for place, line in enumerate(lines) if line.startswith("nodes:")), None)
    if start is None or lines[start].removeprefix("nodes:").split("#")[0].strip():
        return None
    depth = next((_depth(line) for line in lines[start + 1 :] if _is_said(line)), 0)
    starts = [place for place, line in enumerate(lines) if place > start and _is_said(line) and _depth(line) <= depth]
    if depth == 0 or len(starts) != len(keys) or any(_depth(lines[place]) != depth for place in starts):
        return None
    tops = [_top(lines, place, start) for place in starts]
    ends = [*tops[1:], len(lines)]
    blocks = {
        key: _Block(lines[top:place], lines[place:end])
        for key, top, place, end in zip(keys, tops, starts, ends, strict=True)
    }
    return lines[: tops[0]] if tops else lines, blocks


def _top(lines: list[str], place: int, least: int) -> int:
    """Where the comments above a node begin."""
    while place - 1 > least and not _is_said(lines[place - 1]):
        place -= 1
    return place


def _is_said(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
