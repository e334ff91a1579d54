"""The JSON Schema of documents, made of the table in forms.py; docs/reference/workflow.schema.json is its copy."""

from typing import Any

from mecapy_platform.core.workflows.documents.forms import (
    COMMON,
    FORMS,
    FUNCTION,
    HEAD,
    WORKFLOW,
    Form,
    Shape,
    Word,
)
from mecapy_platform.core.workflows.graph import MAX_NODES
from mecapy_platform.core.workflows.read import RETRY_ON

TEXT = {"type": "string"}
TYPE = {"anyOf": [TEXT, {"type": "object", "additionalProperties": {"$ref": "#/$defs/type"}}]}
SOURCES = {
    "anyOf": [
        TEXT,
        {"type": "object", "additionalProperties": TEXT},
        {
            "type": "array",
            "items": {"anyOf": [TEXT, {"type": "object", "additionalProperties": TEXT, "maxProperties": 1}]},
        },
    ]
}
SHAPES: dict[Shape, dict[str, Any]] = {
    Shape.TEXT: TEXT,
    Shape.TYPE: {"$ref": "#/$defs/type"},
    Shape.PORTS: {"type": "object", "additionalProperties": {"$ref": "#/$defs/type"}},
    Shape.NAMES: {"type": "array", "items": TEXT},
    Shape.TEXTS: {"type": "object", "additionalProperties": TEXT},
    Shape.NUMBER: {"type": "number"},
    Shape.WHOLE: {"type": "integer"},
    Shape.FLAG: {"type": "boolean"},
    Shape.JSON: {},
    Shape.FUNCTION: {"$ref": "#/$defs/function"},
    Shape.WORKFLOW: {"$ref": "#/$defs/workflow"},
    Shape.BODY: {"$ref": "#/$defs/body"},
    Shape.CASES: {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"when": TEXT, "body": {"$ref": "#/$defs/body"}},
            "required": ["when", "body"],
            "additionalProperties": False,
        },
    },
    Shape.EDGES: {"type": "object", "additionalProperties": {"$ref": "#/$defs/sources"}},
    Shape.PAIR: {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    Shape.RETRY: {"$ref": "#/$defs/retry"},
}
RETRY = {
    "type": "object",
    "properties": {
        "max": {"type": "integer", "minimum": 0},
        "backoff_seconds": {"type": "number", "minimum": 0},
        "jitter": {"type": "number", "minimum": 0, "maximum": 1},
        "on": {"type": "array", "items": {"enum": list(RETRY_ON)}},
    },
    "additionalProperties": False,
}


def document_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) that editors check a workflow's YAML by."""
    names = [form.name for form in FORMS.values()]
    node = {
        "type": "object",
        "properties": {form.name: _form(form) for form in FORMS.values()} | {word.name: _word(word) for word in COMMON},
        "additionalProperties": False,
        "oneOf": [{"required": [name]} for name in names],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Workflow of MecaPy",
        "type": "object",
        "properties": {word.name: _word(word) for word in HEAD}
        | {"nodes": {"type": "object", "maxProperties": MAX_NODES, "additionalProperties": {"$ref": "#/$defs/node"}}},
        "required": [*(word.name for word in HEAD if word.is_required), "nodes"],
        "additionalProperties": False,
        "$defs": {
            "node": node,
            "type": TYPE,
            "sources": SOURCES,
            "retry": RETRY,
            "function": {**TEXT, "description": FUNCTION.about},
            "workflow": {**TEXT, "description": WORKFLOW.about},
            "body": _body(),
        },
    }


def _word(word: Word) -> dict[str, Any]:
    shape = {"enum": list(word.allowed)} if word.allowed else SHAPES[word.shape]
    return {**shape, "description": word.about}


def _form(form: Form) -> dict[str, Any]:
    whole = {
        "type": "object",
        "properties": {word.name: _word(word) for word in form.words},
        "required": [word.name for word in form.words if word.is_required],
        "additionalProperties": False,
    }
    choices = [whole]
    choices += [SHAPES[word.shape] for word in form.words if word.name == form.short]
    if not whole["required"]:
        choices.append({"type": "null"})
    return {"description": form.about, **(choices[0] if len(choices) == 1 else {"anyOf": choices})}


def _body() -> dict[str, Any]:
    each = [
        {"type": "object", "properties": {name: TEXT}, "required": [name], "additionalProperties": False}
        for name in ("function", "workflow")
    ]
    return {"anyOf": [TEXT, *each, {"type": "null"}]}
