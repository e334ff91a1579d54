"""Reads the document of a workflow into the JSON of its graph, and knows in which line each part stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.manifest.document import Kind, read_yaml
from mecapy_platform.core.manifest.document import Path as Place
from mecapy_platform.core.manifest.reader import Reader, Stage
from mecapy_platform.core.workflows.documents.forms import COMMON, FORMS, HEAD, KINDS_BY_NAME, Form, Shape, Word
from mecapy_platform.core.workflows.documents.record import (
    FUNCTION_ID,
    WORKFLOW_ID,
    WorkflowDocument,
    is_function_name,
)
from mecapy_platform.core.workflows.documents.sources import read_source
from mecapy_platform.core.workflows.graph import MAX_GRAPH_BYTES, NodeKind

KIND = Kind("the workflow", "workflow_unreadable", MAX_GRAPH_BYTES, max_values=250_000, max_depth=80)
MAX_PROBLEMS = 200


@dataclass(frozen=True)
class ReadDocument:
    """What was read, and what is wrong with its form; `lines` of its parts, `edges` as where each was written."""

    document: WorkflowDocument
    problems: tuple[Problem, ...]
    lines: Mapping[Place, int]
    edges: tuple[Place, ...]
    text: str = ""

    def line_of(self, *, node: str | None = None, field: str | None = None, edge: int | None = None) -> int:
        """The line of a field of a node, or of an edge; 0 where the document has no such part."""
        if edge is not None and 0 <= edge < len(self.edges):
            return self._line(self.edges[edge])
        if node is None:
            return self._line((field or "nodes",))
        place: Place = ("nodes", node)
        kind = next((name for name in KINDS_BY_NAME if (*place, name) in self.lines), "")
        words = _words_of(kind, field or "")
        inner = [(*place, kind, *words), (*place, *words), (*place, kind, *words[:1]), (*place, kind), place]
        return next((self.lines[found] for found in inner if found in self.lines), 0)

    def _line(self, place: Place) -> int:
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 0)

    def checked(self) -> WorkflowDocument:
        """The document, or InvalidInputError "workflow_document_invalid" with every problem."""
        if self.problems:
            message = self.problems[0].message
            if len(self.problems) > 1:
                message = f"The document has {len(self.problems)} mistakes; see the list."
            raise InvalidInputError("workflow_document_invalid", message, problems=self.problems[:MAX_PROBLEMS])
        return self.document


def _words_of(kind: str, field: str) -> Place:
    """A field of the JSON as the words of the document: `input_spec.type_expr` is `type`."""
    form = FORMS[KINDS_BY_NAME[kind]] if kind else None
    names = {word.field: word.name for word in (*COMMON, *(form.words if form else ()))}
    parts = [part for part in field.split(".") if part and not (form and part == form.within)]
    return tuple(int(part) if part.isdigit() else names.get(part, part) for part in parts)


def read_document(text: bytes) -> ReadDocument:
    """Read a document with every mistake of its form.

    Raises
    ------
    MalformedError
        "workflow_unreadable": no YAML, above 4 MiB or 250,000 values, anchors, aliases, tags; its problems name lines.
    """
    source = read_yaml(text, KIND)
    reader = Reader(source)
    for place, line in source.duplicates:
        reader.problem_at(
            ".".join(map(str, place)), line, "duplicate_key", f"{place[-1]!r} stands here twice.", Stage.YAML
        )
    head = reader.block(source.value, (), [*(word.name for word in HEAD), "nodes"], ["workflow", "nodes"]) or {}
    texts = {word.field: reader.text(head, word.name, (), limit=4_000, number_as_text=True) for word in HEAD}
    given = reader.mapping(head.get("nodes"), ("nodes",), "a mapping of names and nodes") if "nodes" in head else None
    reading = _Nodes(reader, frozenset(given or ()))
    nodes = [reading.node(str(key), node) for key, node in (given or {}).items()]
    graph: dict[str, Any] = {"nodes": [node for node in nodes if node is not None], "edges": reading.edges}
    if texts["on_failure"] is not None:
        graph["on_failure"] = texts["on_failure"]
    document = WorkflowDocument(texts["slug"] or "", texts["name"], texts["description"], graph)
    return ReadDocument(document, tuple(reader.problems), source.lines, tuple(reading.places), text.decode("utf-8-sig"))


class _Nodes:
    """Reads nodes one after the other; edges are collected with where they stand."""

    def __init__(self, reader: Reader, keys: frozenset[str]) -> None:
        self._reader = reader
        self._keys = keys
        self.edges: list[dict[str, Any]] = []
        self.places: list[Place] = []

    def node(self, key: str, given: object) -> dict[str, Any] | None:
        place: Place = ("nodes", key)
        names = [word.name for word in COMMON]
        block = self._reader.block(given, place, [*KINDS_BY_NAME, *names])
        if block is None:
            return None
        kinds = [name for name in KINDS_BY_NAME if name in block]
        if len(kinds) != 1:
            has = f"has several ({', '.join(kinds)})" if kinds else "has none"
            message = f"a node has exactly one of {', '.join(KINDS_BY_NAME)}; {key[:80]!r} {has}."
            self._reader.problem(place, "missing_key", message)
            return None
        kind = KINDS_BY_NAME[kinds[0]]
        node: dict[str, Any] = {"node_key": key, "node_kind": kind.value}
        node |= self._own(key, kind, block[kinds[0]], (*place, kinds[0]))
        node |= self._common(block, place)
        self._sources(key, block.get("from"), (*place, "from"))
        return node

    def _own(self, key: str, kind: NodeKind, given: object, place: Place) -> dict[str, Any]:
        form = FORMS[kind]
        if form.short is not None and (not isinstance(given, Mapping) or _is_struct(form, given)):
            given = {form.short: given}
        if given is None and not any(word.is_required for word in form.words):
            given = {}
        required = [word.name for word in form.words if word.is_required]
        block = self._reader.block(given, place, [word.name for word in form.words], required) or {}
        found = {
            word.field: self._value(word, block[word.name], (*place, word.name))
            for word in form.words
            if word.name in block
        }
        if kind is NodeKind.INPUT:
            found.setdefault("label", key)
        return {form.within: found} if form.within else found

    def _value(self, word: Word, value: Any, place: Place) -> Any:
        if word.shape is Shape.BODY:
            return self._body(value, place)
        if word.shape is Shape.CASES and isinstance(value, list):
            return [self._case(case, (*place, index)) for index, case in enumerate(value)]
        if word.shape in {Shape.FUNCTION, Shape.WORKFLOW} and not isinstance(value, str):
            self._reader.wrong(place, value, f"a name such as {word.about}")
            return ""
        return value

    def _case(self, case: object, place: Place) -> dict[str, Any]:
        block = self._reader.block(case, place, ("when", "body"), ("when", "body")) or {}
        return {"when": block.get("when"), "body": self._body(block.get("body"), (*place, "body"))}

    def _body(self, value: object, place: Place) -> dict[str, Any] | None:
        if value is None:
            return None
        if isinstance(value, str):
            return {FUNCTION_ID if is_function_name(value) else WORKFLOW_ID: value}
        block = self._reader.block(value, place, ("function", "workflow")) or {}
        named = {"function": FUNCTION_ID, "workflow": WORKFLOW_ID}
        if len(block) != 1 or not isinstance(next(iter(block.values())), str):
            self._reader.wrong(place, value, "owner/package:function@version or owner/workflow@number")
            return None
        return {named[name]: reference for name, reference in block.items()}

    def _common(self, block: Mapping[str, Any], place: Place) -> dict[str, Any]:
        found = {
            word.field: block[word.name] for word in COMMON if word.name in block and word.name not in {"from", "at"}
        }
        position = block.get("at")
        if position is None:
            return found
        if not isinstance(position, list) or len(position) != 2:
            self._reader.wrong((*place, "at"), position, "two numbers, [x, y]")
            return found
        return found | {"position_x": position[0], "position_y": position[1]}

    def _sources(self, key: str, given: object, place: Place) -> None:
        if given is None:
            return
        for port, source in (
            self._reader.mapping(given, place, "a mapping of inputs and what feeds them") or {}
        ).items():
            inner = (*place, port)
            if isinstance(source, str):
                self._edge(key, port, None, source, inner)
            elif isinstance(source, Mapping):
                for alias, text in source.items():
                    self._edge(key, port, alias, text, (*inner, alias))
            elif isinstance(source, list):
                for index, item in enumerate(source):
                    self._item(key, port, item, (*inner, index))
            else:
                self._reader.wrong(inner, source, "node, node.port, or several of them by alias")

    def _item(self, key: str, port: str, item: object, place: Place) -> None:
        if isinstance(item, Mapping) and len(item) == 1:
            alias, text = next(iter(item.items()))
            self._edge(key, port, str(alias), text, place)
        else:
            self._edge(key, port, None, item, place)

    def _edge(self, key: str, port: str, alias: str | None, text: object, place: Place) -> None:
        if not isinstance(text, str) or not text:
            self._reader.wrong(place, text, "a node or node.port")
            return
        source, source_port = read_source(text, self._keys)
        self.places.append(place)
        self.edges.append(
            {
                "source_node_key": source,
                "source_port": source_port,
                "target_node_key": key,
                "target_port": port,
                "alias": alias,
            }
        )


def _is_struct(form: Form, given: Mapping[str, Any]) -> bool:
    """Whether a mapping is the short value itself, a struct of fields and types, and not the words of the form."""
    return form.short == "type" and form.within is None and set(given) != {"type"}
