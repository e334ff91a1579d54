"""What a node of each kind looks like in a document: its words, and the fields of the JSON that they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mecapy_platform.core.workflows.graph import NodeKind


class Shape(StrEnum):
    """What stands under a word."""

    TEXT = "text"
    TYPE = "type"
    PORTS = "ports"  # names and types
    NAMES = "names"
    TEXTS = "texts"  # names and texts
    NUMBER = "number"
    WHOLE = "whole number"
    FLAG = "flag"
    JSON = "json"
    FUNCTION = "function"
    WORKFLOW = "workflow"
    BODY = "body"
    CASES = "cases"
    EDGES = "edges"
    PAIR = "pair"
    RETRY = "retry"


@dataclass(frozen=True)
class Word:
    """`name` in the document, `field` in the JSON of the node."""

    name: str
    field: str
    shape: Shape
    about: str
    is_required: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """The word that makes a node one of its kind, and what stands below it.

    `short`: the word whose value may stand for all, as in `delay: 60`. `within`: the field of the JSON that holds them.
    """

    name: str
    about: str
    words: tuple[Word, ...]
    short: str | None = None
    within: str | None = None


_PORTS = Word("ports", "ports", Shape.PORTS, "Names and types of what the expressions read.")
_BODY = Word("body", "body", Shape.BODY, "What runs: owner/package:function@version or owner/workflow@number.", True)
FUNCTION = Word("function", "function_version_id", Shape.FUNCTION, "owner/package:function@version", True)
WORKFLOW = Word("workflow", "workflow_version_id", Shape.WORKFLOW, "owner/workflow@number", True)

FORMS: Mapping[NodeKind, Form] = {
    NodeKind.FUNCTION: Form("function", "One call of a function.", (FUNCTION,), "function"),
    NodeKind.INPUT: Form(
        "input",
        "What is given when a run starts.",
        (
            Word("label", "label", Shape.TEXT, "What a person reads; the node's name without it."),
            Word("type", "type_expr", Shape.TYPE, "The type of its output `value`.", True),
            Word("description", "description", Shape.TEXT, "A sentence about it."),
            Word("required", "required", Shape.FLAG, "Whether a run needs it; true without it."),
            Word("default", "default", Shape.JSON, "The value where none is given."),
        ),
        "type",
        "input_spec",
    ),
    NodeKind.CONSTANT: Form(
        "constant",
        "A value that never changes.",
        (
            Word("value", "value", Shape.JSON, "A number, a text with a unit, a list ..", True),
            Word("type", "type_expr", Shape.TYPE, "The type of its output `value`.", True),
        ),
    ),
    NodeKind.EXPRESSION: Form(
        "expression",
        "Arithmetic on quantities.",
        (
            Word("formula", "expression", Shape.TEXT, "See docs/reference/expressions.md.", True),
            Word("type", "type_expr", Shape.TYPE, "The type of its output `value`.", True),
            _PORTS,
        ),
    ),
    NodeKind.ASSUME_UNIT: Form(
        "assume_unit",
        "Takes a bare number as one in a unit.",
        (Word("type", "type_expr", Shape.TYPE, "Stress, Float[N/m] ..", True),),
        "type",
    ),
    NodeKind.WORKFLOW: Form("workflow", "One run of another workflow.", (WORKFLOW,), "workflow"),
    NodeKind.MAP: Form(
        "map",
        "Runs a body for each item of lists.",
        (
            _BODY,
            Word("over", "over", Shape.NAMES, "Inputs of the body that get one item each.", True),
            Word("parallel", "parallel", Shape.WHOLE, "How many at once; 16 without it."),
            Word(
                "on_item_failure",
                "on_item_failure",
                Shape.TEXT,
                "What a failed item does to its map.",
                allowed=("fail", "skip", "null"),
            ),
        ),
    ),
    NodeKind.IF: Form(
        "if",
        "Runs the body of the branch that is taken.",
        (
            Word("condition", "condition", Shape.TEXT, "An expression that is true or false.", True),
            _PORTS,
            Word("then", "then", Shape.BODY, "What runs where it holds.", True),
            Word("else", "else", Shape.BODY, "What runs where it does not."),
        ),
    ),
    NodeKind.SWITCH: Form(
        "switch",
        "Runs the body of the first case that holds.",
        (
            _PORTS,
            Word("cases", "cases", Shape.CASES, "Conditions and bodies, in their order.", True),
            Word("default", "default", Shape.BODY, "What runs where none holds."),
        ),
    ),
    NodeKind.LOOP: Form(
        "loop",
        "Runs a body again until an expression holds.",
        (
            _BODY,
            Word("until", "until", Shape.TEXT, "An expression on the outputs and `iteration`.", True),
            Word("max_iterations", "max_iterations", Shape.WHOLE, "The loop fails after so many.", True),
            Word("feedback", "feedback", Shape.TEXTS, "Which output feeds which input of the next iteration."),
        ),
    ),
    NodeKind.APPROVAL: Form(
        "approval",
        "Waits for a person.",
        (
            Word("role", "role", Shape.TEXT, "Whose word counts.", allowed=("admin", "user")),
            Word("message", "message", Shape.TEXT, "What the person reads."),
            Word("deadline_seconds", "deadline_seconds", Shape.NUMBER, "How long it waits."),
            Word("on_expiry", "on_expiry", Shape.TEXT, "What the deadline does.", allowed=("reject", "approve")),
        ),
    ),
    NodeKind.DELAY: Form("delay", "Waits.", (Word("seconds", "seconds", Shape.NUMBER, "How long.", True),), "seconds"),
}

COMMON: tuple[Word, ...] = (
    Word("from", "from", Shape.EDGES, "What feeds each input: node, node.port, or several of them."),
    Word("after", "after", Shape.NAMES, "Nodes that must have ended well before."),
    Word("retry", "retry", Shape.RETRY, "Further tries when it fails."),
    Word("timeout_seconds", "timeout_seconds", Shape.NUMBER, "How long it may take."),
    Word("fallback", "fallback", Shape.TEXT, "The node that takes its place when it fails."),
    Word("label", "custom_label", Shape.TEXT, "A name for the editor."),
    Word("at", "at", Shape.PAIR, "Where it stands in the editor, [x, y]."),
)
HEAD: tuple[Word, ...] = (
    Word("workflow", "slug", Shape.TEXT, "The short name of the workflow.", True),
    Word("name", "name", Shape.TEXT, "What a person reads."),
    Word("description", "description", Shape.TEXT, "What it is for."),
    Word("on_failure", "on_failure", Shape.TEXT, "The node that starts when a run fails."),
)
KINDS_BY_NAME: Mapping[str, NodeKind] = {form.name: kind for kind, form in FORMS.items()}
