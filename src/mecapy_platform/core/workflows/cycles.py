"""Nodes that wait for each other in a circle: strongly connected parts of a graph, without recursion."""

from collections.abc import Iterator, Mapping, Sequence

from mecapy_platform.core.workflows.graph import Graph

Following = Mapping[str, Sequence[str]]


def waits(graph: Graph) -> dict[str, list[str]]:
    """Which nodes wait for each: those that it feeds, that come after it, that stand in for it.

    Who reads a node also waits for the one that stands in for it.
    """
    following: dict[str, list[str]] = {key: [] for key in graph.nodes}
    for edge in graph.edges:
        if edge.source in following and edge.target in following:
            following[edge.source].append(edge.target)
    read_by = {node.key: tuple(following[node.key]) for node in graph.nodes.values() if node.fallback}
    for node in graph.nodes.values():
        for key in node.after:
            if key in following:
                following[key].append(node.key)
        if node.fallback in following:
            following[node.key].append(node.fallback)
            following[node.fallback].extend(read_by[node.key])
    return following


def circles(following: Following) -> list[list[str]]:
    """Each circle once, its nodes in the order of the graph; a node that waits for itself is one."""
    order = {key: place for place, key in enumerate(following)}
    found = [part for part in _parts(following) if len(part) > 1 or part[0] in following[part[0]]]
    return sorted((sorted(part, key=order.__getitem__) for part in found), key=lambda part: order[part[0]])


def _parts(following: Following) -> Iterator[list[str]]:
    """Tarjan's strongly connected components, with a stack of iterators in place of calls."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    waiting: list[str] = []
    is_waiting: set[str] = set()
    for root in following:
        if root in index:
            continue
        path = [(root, iter(following[root]))]
        index[root] = low[root] = len(index)
        waiting.append(root)
        is_waiting.add(root)
        while path:
            key, left = path[-1]
            step = next(left, None)
            if step is None:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[key])
                if low[key] == index[key]:
                    yield _taken(waiting, is_waiting, key)
            elif step not in index:
                index[step] = low[step] = len(index)
                waiting.append(step)
                is_waiting.add(step)
                path.append((step, iter(following[step])))
            elif step in is_waiting:
                low[key] = min(low[key], index[step])


def _taken(waiting: list[str], is_waiting: set[str], key: str) -> list[str]:
    place = len(waiting) - 1
    while waiting[place] != key:
        place -= 1
    part = waiting[place:]
    del waiting[place:]
    is_waiting.difference_update(part)
    return part
