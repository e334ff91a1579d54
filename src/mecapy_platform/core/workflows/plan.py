"""The plan of a run, frozen at its start: chains of steps, waves of chains, and where each step's inputs come from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mecapy_platform.core.workflows.graph import Edge, Graph, Node, NodeKind
from mecapy_platform.core.workflows.ports import entry_key

PackageVersions = Mapping[UUID, UUID]  # of each function version


@dataclass(frozen=True)
class Plan:
    """`chains`: keys of nodes in the order in which they run; `waves`: numbers of chains that may run side by side."""

    chains: tuple[tuple[str, ...], ...]
    waves: tuple[tuple[int, ...], ...]


def plan_of(graph: Graph, package_versions: PackageVersions) -> Plan:
    """Chains and waves of a graph without cycles.

    A chain is a maximal line of function nodes of one package version in which each feeds only the next, and the next
    needs no other node but input nodes. Input nodes are in no chain.
    """
    feeds, needs = _links(graph)
    following = {
        key: target for key in feeds if (target := _next(graph, key, feeds, needs, package_versions)) is not None
    }
    continued = set(following.values())
    chains = [_line(key, following) for key in feeds if key not in continued]
    return Plan(tuple(chains), _waves(chains, needs))


def plan_snapshot(graph: Graph, package_versions: PackageVersions) -> dict[str, Any]:
    """The plan as the published API shows it: chains with their steps and `input_bindings`, waves of chain ids."""
    plan = plan_of(graph, package_versions)
    place = {key: index for index, chain in enumerate(plan.chains) for key in chain}
    into: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        into.setdefault(edge.target, []).append(edge)
    chains = []
    for index, chain in enumerate(plan.chains):
        steps = [_step(graph, key, into.get(key, ()), place) for key in chain]
        package_version = package_versions.get(_function_of(graph.nodes[chain[0]]) or UUID(int=0))
        chains.append(
            {"chain_id": _name(index), "package_version_id": package_version and str(package_version), "steps": steps}
        )
    return {"chains": chains, "waves": [[_name(index) for index in wave] for wave in plan.waves]}


def _name(index: int) -> str:
    return f"chain_{index}"


def _function_of(node: Node) -> UUID | None:
    return node.body.function_version_id if node.kind is NodeKind.FUNCTION and node.body else None


Links = Mapping[str, Mapping[str, None]]  # by key, keys in the order of the graph


def _links(graph: Graph) -> tuple[Links, Links]:
    """What each node feeds or lets go, and what each waits for, input nodes apart."""
    keys = [key for key, node in graph.nodes.items() if node.kind is not NodeKind.INPUT]
    feeds: dict[str, dict[str, None]] = {key: {} for key in keys}
    needs: dict[str, dict[str, None]] = {key: {} for key in keys}
    pairs = [(edge.source, edge.target) for edge in graph.edges]
    pairs += [(key, node.key) for node in graph.nodes.values() for key in node.after]
    read_by: dict[str, list[str]] = {}
    for source, target in pairs:
        read_by.setdefault(source, []).append(target)
    for node in graph.nodes.values():
        if node.fallback is not None:
            pairs.append((node.key, node.fallback))
            pairs += [(node.fallback, reader) for reader in read_by.get(node.key, ())]
    for source, target in pairs:
        if source in feeds and target in feeds:
            feeds[source][target] = None
            needs[target][source] = None
    return feeds, needs


def _next(graph: Graph, key: str, feeds: Links, needs: Links, package_versions: PackageVersions) -> str | None:
    """The node that follows in one chain."""
    if len(feeds[key]) != 1:
        return None
    (target,) = feeds[key]
    before, after = (_function_of(graph.nodes[name]) for name in (key, target))
    if before is None or after is None or len(needs[target]) != 1 or graph.nodes[target].after:
        return None
    package_version = package_versions.get(before)
    return target if package_version is not None and package_version == package_versions.get(after) else None


def _line(key: str, following: Mapping[str, str]) -> tuple[str, ...]:
    line = [key]
    while (target := following.get(line[-1])) is not None:
        line.append(target)
    return tuple(line)


def _waves(chains: Iterable[tuple[str, ...]], needs: Links) -> tuple[tuple[int, ...], ...]:
    """Chains by how many others must end before them, at least."""
    lines = list(chains)
    place = {key: index for index, chain in enumerate(lines) for key in chain}
    waiting_for = [{place[source] for source in needs[chain[0]]} for chain in lines]
    followers: list[list[int]] = [[] for _ in lines]
    for index, sources in enumerate(waiting_for):
        for source in sources:
            followers[source].append(index)
    left = [len(sources) for sources in waiting_for]
    wave = [index for index, count in enumerate(left) if not count]
    waves = []
    while wave:
        waves.append(tuple(sorted(wave)))
        following: list[int] = []
        for index in wave:
            for follower in followers[index]:
                left[follower] -= 1
                if not left[follower]:
                    following.append(follower)
        wave = following
    return tuple(waves)


def _step(graph: Graph, key: str, edges: Iterable[Edge], place: Mapping[str, int]) -> dict[str, Any]:
    node = graph.nodes[key]
    by_port: dict[str, list[Edge]] = {}
    for edge in edges:
        by_port.setdefault(edge.target_port, []).append(edge)
    bindings = {port: _port_binding(graph, found, place) for port, found in by_port.items()}
    step: dict[str, Any] = {"node_key": key, "node_kind": node.kind.value, "input_bindings": bindings}
    function_id = _function_of(node)
    return step if function_id is None else {**step, "function_version_id": str(function_id)}


def _port_binding(graph: Graph, edges: list[Edge], place: Mapping[str, int]) -> dict[str, Any]:
    if len(edges) == 1 and edges[0].alias is None:
        return _binding(graph, edges[0], place)
    return {"source": "collected", "entries": {entry_key(edge): _binding(graph, edge, place) for edge in edges}}


def _binding(graph: Graph, edge: Edge, place: Mapping[str, int]) -> dict[str, Any]:
    if graph.nodes[edge.source].kind is NodeKind.INPUT:
        return {"source": "input_node", "input_key": edge.source, "from_port": edge.source_port}
    source = "chain" if place[edge.source] == place[edge.target] else "edge"
    return {"source": source, "from_node_key": edge.source, "from_port": edge.source_port}
