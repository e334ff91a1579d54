"""The JSON of a graph: the inverse of core/workflows/read. Published nodes show the published fields alone."""

from collections.abc import Callable, Mapping
from typing import Any

from mecapy_platform.core.workflows.graph import Body, Edge, Graph, Node, NodeKind, RetryRule


def as_json(graph: Graph) -> dict[str, Any]:
    """{nodes, edges}, and on_failure where it is set. `graph_of` reads it back to an equal graph."""
    form: dict[str, Any] = {
        "nodes": [node_as_json(node) for node in graph.nodes.values()],
        "edges": [edge_as_json(edge) for edge in graph.edges],
    }
    return form if graph.on_failure is None else {**form, "on_failure": graph.on_failure}


def node_as_json(node: Node) -> dict[str, Any]:
    """Published fields always, ours where they are not as by default."""
    body = node.body if node.kind is NodeKind.FUNCTION else None
    form: dict[str, Any] = {
        "node_key": node.key,
        "node_kind": node.kind.value,
        "function_version_id": _text(body and body.function_version_id),
        "input_spec": _input_spec(node),
        "position_x": node.position[0],
        "position_y": node.position[1],
        "custom_label": node.label,
    }
    if node.kind in _OWN:
        form |= _OWN[node.kind](node)
    return form | _common(node)


def edge_as_json(edge: Edge) -> dict[str, Any]:
    return {
        "source_node_key": edge.source,
        "source_port": edge.source_port,
        "target_node_key": edge.target,
        "target_port": edge.target_port,
        "alias": edge.alias,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _input_spec(node: Node) -> dict[str, Any] | None:
    if node.input is None:
        return None
    spec = node.input
    return {
        "label": spec.label,
        "type_expr": spec.type_expr,
        "description": spec.description,
        "required": spec.required,
        "default": spec.default,
    }


def _common(node: Node) -> dict[str, Any]:
    form: dict[str, Any] = {}
    if node.after:
        form["after"] = list(node.after)
    if node.retry != RetryRule():
        retry = node.retry
        form["retry"] = {
            "max": retry.max,
            "backoff_seconds": retry.backoff_seconds,
            "jitter": retry.jitter,
            "on": list(retry.on),
        }
    if node.timeout_seconds is not None:
        form["timeout_seconds"] = node.timeout_seconds
    if node.fallback is not None:
        form["fallback"] = node.fallback
    return form


def _body(body: Body | None) -> dict[str, str] | None:
    if body is None:
        return None
    if body.function_version_id is not None:
        return {"function_version_id": str(body.function_version_id)}
    return {"workflow_version_id": str(body.workflow_version_id)}


def _workflow(node: Node) -> dict[str, Any]:
    return {"workflow_version_id": _text(node.body and node.body.workflow_version_id)}


def _map(node: Node) -> dict[str, Any]:
    return {
        "body": _body(node.body),
        "over": list(node.over),
        "parallel": node.parallel,
        "on_item_failure": node.on_item_failure.value,
    }


def _if(node: Node) -> dict[str, Any]:
    then, otherwise = node.cases
    return {
        "ports": dict(node.ports),
        "condition": then.when,
        "then": _body(then.body),
        "else": _body(otherwise.body),
    }


def _switch(node: Node) -> dict[str, Any]:
    *cases, default = node.cases
    return {
        "ports": dict(node.ports),
        "cases": [{"when": case.when, "body": _body(case.body)} for case in cases],
        "default": _body(default.body),
    }


def _loop(node: Node) -> dict[str, Any]:
    return {
        "body": _body(node.body),
        "until": node.expression,
        "max_iterations": node.max_iterations,
        "feedback": dict(node.feedback),
    }


def _approval(node: Node) -> dict[str, Any]:
    return {
        "role": node.role,
        "message": node.message,
        "deadline_seconds": node.deadline_seconds,
        "on_expiry": node.on_expiry,
    }


_OWN: Mapping[NodeKind, Callable[[Node], dict[str, Any]]] = {
    NodeKind.CONSTANT: lambda node: {"value": node.value, "type_expr": node.type_expr},
    NodeKind.EXPRESSION: lambda node: {
        "expression": node.expression,
        "ports": dict(node.ports),
        "type_expr": node.type_expr,
    },
    NodeKind.ASSUME_UNIT: lambda node: {"type_expr": node.type_expr},
    NodeKind.WORKFLOW: _workflow,
    NodeKind.MAP: _map,
    NodeKind.IF: _if,
    NodeKind.SWITCH: _switch,
    NodeKind.LOOP: _loop,
    NodeKind.APPROVAL: _approval,
    NodeKind.DELAY: lambda node: {"seconds": node.delay_seconds},
}
