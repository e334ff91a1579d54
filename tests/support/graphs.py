"""Graphs for tests: JSON of nodes and edges in few words, and a strategy for whole graphs of all kinds."""

from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ID = UUID(int=1)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine has other work


def function_node(key: str, version_id: UUID | str = ID, **more: Any) -> dict[str, Any]:
    return {"node_key": key, "node_kind": "function", "function_version_id": str(version_id), **more}


def input_node(key: str, type_expr: object = "Float", **spec: Any) -> dict[str, Any]:
    return {"node_key": key, "node_kind": "input", "input_spec": {"label": key, "type_expr": type_expr, **spec}}


def node(key: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"node_key": key, "node_kind": kind, **fields}


def edge(source: str, target: str, alias: str | None = None) -> dict[str, Any]:
    """Ends as `node.port`."""
    source_key, _, source_port = source.rpartition(".")
    target_key, _, target_port = target.rpartition(".")
    form = {
        "source_node_key": source_key,
        "source_port": source_port,
        "target_node_key": target_key,
        "target_port": target_port,
    }
    return form if alias is None else {**form, "alias": alias}


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True)
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=("Cc", "Cs")), max_size=20)
SAID = TEXTS.filter(lambda text: bool(text.strip()))
TYPES = st.sampled_from(["Float", "Stress", "list[Force]", "dict[str, Length]", "Object", "Nothing"]) | st.just(
    {"F": "Force", "x": "Length"}
)
IDS = st.builds(lambda: str(uuid4()))
BODIES = st.one_of(
    st.builds(lambda value: {"function_version_id": value}, IDS),
    st.builds(lambda value: {"workflow_version_id": value}, IDS),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PORTS = st.dictionaries(NAMES, TYPES, max_size=3)
SECONDS = st.floats(1, 1e6)
KINDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "function": {"function_version_id": IDS},
    "input": {
        "input_spec": st.fixed_dictionaries(
            {"label": SAID, "type_expr": TYPES},
            optional={"description": st.none() | TEXTS, "required": st.booleans(), "default": JSON},
        )
    },
    "constant": {"value": JSON.filter(lambda value: value is not None), "type_expr": TYPES},
    "expression": {"expression": SAID, "ports": PORTS, "type_expr": TYPES},
    "assume_unit": {"type_expr": TYPES},
    "workflow": {"workflow_version_id": IDS},
    "map": {
        "body": BODIES,
        "over": st.lists(NAMES, min_size=1, max_size=3, unique=True),
        "parallel": st.integers(1, 50_000),
        "on_item_failure": st.sampled_from(["fail", "skip", "null"]),
    },
    "if": {"ports": PORTS, "condition": SAID, "then": BODIES, "else": st.none() | BODIES},
    "switch": {
        "ports": PORTS,
        "cases": st.lists(st.fixed_dictionaries({"when": SAID, "body": BODIES}), min_size=1, max_size=3),
        "default": st.none() | BODIES,
    },
    "loop": {
        "body": BODIES,
        "until": SAID,
        "max_iterations": st.integers(1, 1000),
        "feedback": st.dictionaries(NAMES, NAMES, max_size=2),
    },
    "approval": {
        "role": st.sampled_from(["admin", "user"]),
        "message": st.none() | SAID,
        "deadline_seconds": st.none() | SECONDS,
        "on_expiry": st.sampled_from(["reject", "approve"]),
    },
    "delay": {"seconds": st.floats(0, 1e6)},
}
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "position_x": st.floats(-1e6, 1e6),
    "position_y": st.integers(-100, 100),
    "custom_label": st.none() | SAID,
    "after": st.lists(NAMES, max_size=2, unique=True),
    "retry": st.fixed_dictionaries(
        {"max": st.integers(0, 20)},
        optional={
            "backoff_seconds": st.floats(0, 3600),
            "jitter": st.floats(0, 1),
            "on": st.lists(st.sampled_from(["user_error", "timeout"]), min_size=1, unique=True),
        },
    ),
    "timeout_seconds": SECONDS,
    "fallback": NAMES,
}


@st.composite
def nodes(draw: st.DrawFn, key: str) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    fields = draw(st.fixed_dictionaries(KINDS[kind], optional=COMMON))
    return {"node_key": key, "node_kind": kind, **fields}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """JSON of right form, of every kind of node; what it means need not hold."""
    keys = draw(st.lists(NAMES, max_size=6, unique=True))
    found = [draw(nodes(key)) for key in keys]
    ends = st.sampled_from(keys) if keys else NAMES
    edges = st.fixed_dictionaries(
        {"source_node_key": ends, "source_port": NAMES, "target_node_key": ends, "target_port": NAMES},
        optional={"alias": st.none() | SAID},
    )
    on_failure = draw(st.booleans())
    more = {"on_failure": keys[0]} if keys and on_failure else {}
    return {"nodes": found, "edges": draw(st.lists(edges, max_size=6)), **more}
