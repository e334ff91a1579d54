"""Workflows: list, look, make, save versions, validate; and as documents, with names in the place of ids."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from mecapy_platform.client.records import build
from mecapy_platform.client.transport import Transport
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.core.workflows.documents import WorkflowDocument, references, renamed, updated, write_document

LIST_MOST = 200


@dataclass(frozen=True)
class WorkflowVersion:
    """One immutable version with its graph, {nodes, edges, on_failure}."""

    id: str
    version: int
    is_latest: bool = True
    nodes: Sequence[Mapping[str, Any]] = ()
    edges: Sequence[Mapping[str, Any]] = ()
    on_failure: str | None = None
    warnings: Sequence[Mapping[str, Any]] = ()

    @property
    def graph(self) -> dict[str, Any]:
        graph: dict[str, Any] = {"nodes": list(self.nodes), "edges": list(self.edges)}
        return graph if self.on_failure is None else {**graph, "on_failure": self.on_failure}


@dataclass(frozen=True)
class Workflow:
    """A workflow as the platform describes it; in lists without its newest version."""

    id: str
    slug: str
    name: str
    description: str | None = None
    organization_slug: str | None = None
    node_count: int = 0
    visibility_effective: str = "private"
    updated_at: str | None = None
    archived_at: str | None = None
    latest_version: WorkflowVersion | None = None
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        latest = data.get("latest_version")
        return build(cls, data, raw=data, latest_version=latest and build(WorkflowVersion, latest))


@dataclass(frozen=True)
class Finding:
    """One fault of a graph: at a node, or at an edge by its place in the list."""

    category: str
    code: str
    message: str
    node: str | None = None
    port: str | None = None
    field: str | None = None
    edge: int | None = None


@dataclass(frozen=True)
class Report:
    """What a validation says; without findings the graph holds. `conversions`: edges on whose way numbers change."""

    findings: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    conversions: tuple[Mapping[str, Any], ...] = ()
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        found = [
            _finding(category, item)
            for category, items in data.items()
            if isinstance(items, list) and category not in {"warnings", "conversions"}
            for item in items
        ]
        warnings = tuple(_finding("warnings", item) for item in data.get("warnings") or ())
        return cls(tuple(found), warnings, tuple(data.get("conversions") or ()), data)


def _finding(category: str, item: Any) -> Finding:
    if not isinstance(item, Mapping):  # a circle: the keys of its nodes
        keys = [str(key) for key in item]
        message = f"These nodes wait for each other: {', '.join(keys[:20])}."
        return Finding(category, "cycle", message, node=keys[0] if keys else None)
    return Finding(
        category,
        str(item.get("code", category)),
        str(item.get("message", "")),
        item.get("node_key"),
        item.get("port"),
        item.get("field"),
        item.get("edge"),
    )


class Workflows:
    """Calls about workflows."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self, *, include_archived: bool = False) -> tuple[Workflow, ...]:
        """Those that the caller may see, the last changed first; at most 200."""
        answer = self._transport.get("/workflows", limit=LIST_MOST, include_archived=include_archived)
        return tuple(Workflow.from_json(item) for item in answer["workflows"])

    def get(self, slug: str) -> Workflow:
        """By slug or id, or `owner/slug`."""
        if "/" in slug:
            owner, _, name = slug.partition("/")
            answer = self._transport.get("/registry/lookup/workflow", owner=owner, slug=name)
            slug = str(answer["workflow_id"])
        return Workflow.from_json(self._transport.get(f"/workflows/{slug}"))

    def version(self, slug: str, number: int) -> WorkflowVersion:
        return build(WorkflowVersion, self._transport.get(f"/workflows/{slug}/versions/{number}"))

    def create(self, slug: str, name: str, description: str | None = None) -> Workflow:
        """An empty workflow, in the organization of the client."""
        body = {"slug": slug, "name": name, "description": description}
        if self._transport.organization:
            body["organization_slug"] = self._transport.organization
        return Workflow.from_json(self._transport.post("/workflows", body, repeatable=False))

    def save(self, slug: str, graph: Mapping[str, Any], document: str | None = None) -> WorkflowVersion:
        """Keep a graph as the next version, and the YAML that it came from.

        ConflictError with the report where it does not hold.
        """
        body = {**graph, "document": document}
        return build(WorkflowVersion, self._transport.post(f"/workflows/{slug}/versions", body, repeatable=False))

    def text(self, workflow: Workflow, version: WorkflowVersion | None = None) -> str:
        """A version as YAML: what it was saved from, as far as that still holds, with its comments."""
        version = version or workflow.latest_version
        document = self.document(workflow, version)
        number = 0 if version is None else version.version
        kept = self._transport.get(f"/workflows/{workflow.id}/versions/{number}/document").get("document")
        return updated(kept, document) if isinstance(kept, str) else write_document(document)

    def validate(self, slug: str | None, graph: Mapping[str, Any]) -> Report:
        """Judge a graph, of a workflow or of none yet; nothing is kept."""
        path = "/workflow-documents/validate" if slug is None else f"/workflows/{slug}/validate"
        return Report.from_json(self._transport.post(path, dict(graph)))

    def ids(self, graph: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The graph with ids in the place of names, and the names that mean nothing to the caller."""
        functions, workflows = references(graph)
        wanted = {"functions": _names(functions), "workflows": _names(workflows)}
        answer = self._transport.post("/workflow-documents/ids", wanted) if any(wanted.values()) else {}
        missing = [name for kind, names in wanted.items() for name in names if name not in (answer.get(kind) or {})]
        return renamed(graph, _lookup(answer, "functions"), _lookup(answer, "workflows")), tuple(missing)

    def document(self, workflow: Workflow, version: WorkflowVersion | None = None) -> WorkflowDocument:
        """A version as its document; without `version` the newest. What the caller may not see keeps its id."""
        version = version or workflow.latest_version
        if version is None:
            raise NotFoundError("version_not_found", f"Workflow {workflow.slug} has no version yet.")
        functions, workflows = references(version.graph)
        body = {"functions": list(functions), "workflows": list(workflows)}
        answer = self._transport.post("/workflow-documents/names", body) if functions or workflows else {}
        graph = renamed(version.graph, _lookup(answer, "functions"), _lookup(answer, "workflows"))
        return WorkflowDocument(workflow.slug, workflow.name, workflow.description, graph)


def _names(texts: Sequence[str]) -> list[str]:
    """Without those that are ids already."""
    return [text for text in texts if "/" in text]


def _lookup(answer: Mapping[str, Any], kind: str) -> Callable[[str], str]:
    found = answer.get(kind) or {}
    return lambda name: str(found.get(name, name))
