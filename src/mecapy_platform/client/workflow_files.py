"""Documents of workflows as files: read, judged with the line of every fault, written with comments kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from mecapy_platform.client.workflows import Finding, Report, Workflows
from mecapy_platform.core.errors import ConfigurationError, InvalidInputError, MecapyError, Problem
from mecapy_platform.core.workflows.documents import (
    ReadDocument,
    WorkflowDocument,
    read_document,
    references,
    renamed,
    updated,
)
from mecapy_platform.core.workflows.read import read_graph


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a document: the line (0 where none can be named), the place, a code, a sentence."""

    line: int
    place: str
    code: str
    message: str


def read_file(path: Path) -> ReadDocument:
    """The document in a file, with every mistake of its form."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError("workflow_file", f"{path} cannot be read: {error.strerror or error}.") from error
    return read_document(text)


def faults_of_form(read: ReadDocument) -> list[Fault]:
    """What can be told without a platform: mistakes of the document, and of the fields of its nodes."""
    found = [Fault(_line(problem), problem.path, problem.code, _without_line(problem)) for problem in read.problems]

    def stand_in(name: str) -> str:
        return str(uuid5(NAMESPACE_URL, name))

    try:
        problems = read_graph(renamed(read.document.graph, stand_in, stand_in)).problems
    except MecapyError as error:
        return [*found, Fault(read.line_of(field="nodes"), "nodes", error.code, error.message)]
    given = [Finding("form", item.code, item.message, item.node, item.port, item.field, item.edge) for item in problems]
    return _sorted([*found, *located(read, given)])


def located(read: ReadDocument, findings: Iterable[Finding]) -> list[Fault]:
    """Findings of the platform with the lines that they speak of."""
    edges = read.document.graph.get("edges", ())
    faults = []
    for finding in findings:
        place = ".".join(part for part in (finding.node, finding.port or finding.field) if part)
        if finding.edge is not None and 0 <= finding.edge < len(edges):
            edge: Mapping[str, Any] = edges[finding.edge]
            place = f"{edge['target_node_key']}.{edge['target_port']}"
        line = read.line_of(node=finding.node, field=finding.field, edge=finding.edge)
        faults.append(Fault(line, place, finding.code, finding.message))
    return _sorted(faults)


def unknown_names(read: ReadDocument, names: Iterable[str]) -> list[Fault]:
    """One fault for each node that names what is not there, or not the caller's to use."""
    missing = set(names)
    faults = []
    for node in read.document.graph.get("nodes", ()):
        functions, workflows = references({"nodes": [node]})
        for name in (*functions, *workflows):
            if name in missing:
                message = f"There is no {name}, or you may not use it. See what there is: mecapy packages"
                key = node["node_key"]
                faults.append(Fault(read.line_of(node=key), key, "unknown_name", message))
    return _sorted(faults)


@dataclass(frozen=True)
class Judged:
    """The graph as the platform takes it, all that is wrong with it, and the report where it got so far."""

    graph: Mapping[str, Any]
    faults: list[Fault]
    report: Report | None = None


def judged(workflows: Workflows, slug: str | None, read: ReadDocument) -> Judged:
    """Judge a document: its form, its names, its meaning; the first that fails is told in full."""
    if faults := faults_of_form(read):
        return Judged({}, faults)
    graph, missing = workflows.ids(read.document.graph)
    if missing:
        return Judged(graph, unknown_names(read, missing))
    report = workflows.validate(slug, graph)
    return Judged(graph, located(read, report.findings), report)


def refused(faults: list[Fault]) -> InvalidInputError:
    """The faults as one error."""
    problems = [Problem(fault.place, fault.code, _told(fault)) for fault in faults]
    message = f"The workflow has {len(faults)} mistakes." if len(faults) > 1 else problems[0].message
    return InvalidInputError("workflow_document_invalid", message, problems=problems)


def write_file(path: Path, document: WorkflowDocument, text: str) -> bool:
    """Write a document where it differs from what the file says; comments stay. Whether anything changed.

    `text`: what is written where there is no such file yet.
    """
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        return True
    before = path.read_text(encoding="utf-8-sig")
    after = updated(before, document)
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before


def _told(fault: Fault) -> str:
    return f"Line {fault.line}: {fault.message}" if fault.line else fault.message


def _sorted(faults: list[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: fault.line)


def _line(problem: Problem) -> int:
    head = problem.message.partition(":")[0].removeprefix("Line ")
    return int(head) if head.isdigit() else 0


def _without_line(problem: Problem) -> str:
    return problem.message.partition(": ")[2] if _line(problem) else problem.message
