"""How the nodes of a graph wait for each other, compiled once for a version.

A place is the number of a node in an order in which sources come first.
Input nodes have no place: their values are there from the start.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.workflows.graph import Edge, Graph, Node, NodeKind
from mecapy_platform.core.workflows.ports import terminal_keys


@dataclass(frozen=True)
class Layout:
    """Everything by place; a place is the number of a node in the order in which nodes may start.

    Attributes
    ----------
    sources : places whose outputs a node reads
    after : places that must have ended well, without a value from them
    fallback : the place that stands for a node which failed
    stands_for : the places that a node is the fallback of
    on_failure : the place that starts when the run fails
    edges : by key of the target, the edges that feed it
    """

    graph: Graph
    nodes: tuple[Node, ...]
    sources: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]
    fallback: tuple[int | None, ...]
    stands_for: tuple[tuple[int, ...], ...]
    on_failure: int | None
    edges: Mapping[str, tuple[Edge, ...]]

    @cached_property
    def places(self) -> Mapping[str, int]:
        return {node.key: place for place, node in enumerate(self.nodes)}

    @cached_property
    def waits(self) -> tuple[tuple[int, ...], ...]:
        """All that a node waits for: sources, what it comes after, and what it is the fallback of."""
        return tuple(
            (*self.sources[place], *self.after[place], *self.stands_for[place]) for place in range(len(self.nodes))
        )

    @cached_property
    def dependents(self) -> tuple[tuple[int, ...], ...]:
        """What must be looked at again when a node has ended; of a fallback also what reads the node it stands for."""
        found: list[set[int]] = [set() for _ in self.nodes]
        for place in range(len(self.nodes)):
            for source in (*self.sources[place], *self.after[place]):
                found[source].add(place)
                fallback = self.fallback[source]
                while fallback is not None and place not in found[fallback]:
                    found[fallback].add(place)
                    fallback = self.fallback[fallback]
            for primary in self.stands_for[place]:
                found[primary].add(place)
        return tuple(tuple(sorted(places)) for places in found)

    @cached_property
    def terminals(self) -> tuple[int, ...]:
        """The nodes whose outputs are what a run gives."""
        return tuple(self.places[key] for key in terminal_keys(self.graph))


def layout_of(graph: Graph) -> Layout:
    """Raises InvalidInputError "graph_cyclic" where nodes wait for each other in a circle."""
    edges: dict[str, list[Edge]] = defaultdict(list)
    for edge in graph.edges:
        edges[edge.target].append(edge)
    waits = {
        node.key: _unplaced(graph, [edge.source for edge in edges[node.key]]) + _unplaced(graph, node.after)
        for node in graph.nodes.values()
        if node.kind is not NodeKind.INPUT
    }
    keys = _ordered(graph, waits)
    places = {key: place for place, key in enumerate(keys)}
    nodes = tuple(graph.nodes[key] for key in keys)
    fallback = tuple(places.get(node.fallback) if node.fallback else None for node in nodes)
    stands_for: list[list[int]] = [[] for _ in nodes]
    for place, stand_in in enumerate(fallback):
        if stand_in is not None:
            stands_for[stand_in].append(place)
    return Layout(
        graph=graph,
        nodes=nodes,
        sources=tuple(_places(places, [edge.source for edge in edges[node.key]]) for node in nodes),
        after=tuple(_places(places, node.after) for node in nodes),
        fallback=fallback,
        stands_for=tuple(map(tuple, stands_for)),
        on_failure=places.get(graph.on_failure) if graph.on_failure else None,
        edges={key: tuple(found) for key, found in edges.items()},
    )


def _unplaced(graph: Graph, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if key in graph.nodes and graph.nodes[key].kind is not NodeKind.INPUT]


def _places(places: Mapping[str, int], keys: Sequence[str]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(places[key] for key in keys if key in places))


def _ordered(graph: Graph, waits: Mapping[str, list[str]]) -> list[str]:
    """Sources first, a node before its fallback, and a fallback before what reads the node; else as given."""
    before = _all_before(graph, waits)
    number = {key: place for place, key in enumerate(waits)}
    following: dict[str, list[str]] = defaultdict(list)
    for key, sources in before.items():
        for source in sources:
            following[source].append(key)
    left = {key: len(sources) for key, sources in before.items()}
    ready = [number[key] for key, count in left.items() if not count]
    names, ordered = list(waits), []
    ready.sort()
    while ready:
        key = names[heappop(ready)]
        ordered.append(key)
        for dependent in following[key]:
            left[dependent] -= 1
            if not left[dependent]:
                heappush(ready, number[dependent])
    if len(ordered) < len(waits):
        circle = sorted(set(waits) - set(ordered))
        raise InvalidInputError("graph_cyclic", f"These nodes wait for each other: {', '.join(circle[:10])}.")
    return ordered


def _all_before(graph: Graph, waits: Mapping[str, list[str]]) -> dict[str, set[str]]:
    """What each node comes after: its sources, their fallbacks, and the node that it is the fallback of."""
    before = {key: set(sources) for key, sources in waits.items()}
    for key, sources in waits.items():
        for source in sources:
            before[key] |= _stand_ins(graph, source, waits)
        stand_in = graph.nodes[key].fallback
        if stand_in is not None and stand_in in waits:
            before[stand_in].add(key)
    return before


def _stand_ins(graph: Graph, key: str, waits: Mapping[str, list[str]]) -> set[str]:
    """The fallback of a node, that one's fallback, and so on."""
    found: set[str] = set()
    fallback = graph.nodes[key].fallback
    while fallback is not None and fallback in waits and fallback not in found:
        found.add(fallback)
        fallback = graph.nodes[fallback].fallback
    return found
