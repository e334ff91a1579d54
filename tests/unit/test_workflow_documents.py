"""Workflows as YAML: written and read back, refused with the line, shown, compared."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.manifest.document import read_yaml
from mecapy_platform.core.workflows.documents import (
    WorkflowDocument,
    are_same,
    as_text,
    differences,
    document_schema,
    read_document,
    references,
    renamed,
    updated,
    write_document,
)
from mecapy_platform.core.workflows.documents.reading import KIND
from mecapy_platform.core.workflows.json_form import as_json
from mecapy_platform.core.workflows.read import graph_of
from support.graphs import documents

SCHEMA = Path(__file__).parents[2] / "docs/reference/workflow.schema.json"
SPACE = UUID(int=7)
TEXT = """\
# Margins of a bolted joint
workflow: bolt-check
name: Bolt check
on_failure: alert
nodes:
  load:
    input: {label: Load, type: Force, default: 20 kN}
  count:
    input: Integer
    at: [1, 2.5]
  size:  # the sizing
    function: acme/bolts:size@1.2.0
    from: {load: load, n: count}
    retry: {max: 2, on: [timeout]}
  check:
    expression: {formula: "1 - stress / 235[MPa]", type: Float, ports: {stress: Stress}}
    from: {stress: size.stress}
  each:
    map: {body: "acme/bolts:size@1.2.0", over: [load], on_item_failure: "null"}
    from:
      load: {a: load, b: size.weld.deep}
      n: [count, {z: load}]
  branch:
    if: {condition: "x > 0", ports: {x: Float}, then: acme/sub@3, else: {workflow: acme/other@1}}
    from: {x: check}
  ok:
    approval:
    after: [branch]
    fallback: check
  wait: {delay: 60}
  unit: {assume_unit: Stress}
  fixed: {constant: {value: [1, 2.5, "x: y", {"a b": null}], type: "list[Float]"}}
  choose: {switch: {cases: [{when: "a", body: "o/p:f@1"}], default: o/w@1, ports: {a: Boolean}}}
  again: {loop: {body: "o/p:f@1", until: "iteration > 3", max_iterations: 5, feedback: {x: y}}}
  alert: {workflow: acme/mail@2, label: "Al: ert"}
"""


def ids(graph: dict[str, Any]) -> dict[str, Any]:
    """Names replaced by ids, as a platform would find them."""

    def id_of(name: str) -> str:
        return str(uuid5(SPACE, name))

    return renamed(graph, id_of, id_of)


def read(text: str) -> WorkflowDocument:
    return read_document(text.encode()).checked()


def test_a_document_is_written_and_read_back_to_the_same_graph() -> None:
    document = read(TEXT)
    again = read(write_document(document))
    assert are_same(document, again)
    assert graph_of(ids(dict(document.graph))) == graph_of(ids(dict(again.graph)))
    assert write_document(again) == write_document(document)


def test_what_the_platform_answers_is_written_without_what_is_as_by_default() -> None:
    graph = graph_of(ids(dict(read(TEXT).graph)))
    answered = as_json(graph)
    text = write_document(WorkflowDocument("bolt-check", "Bolt check", None, answered))
    assert graph_of(read(text).graph).nodes == graph.nodes
    assert set(graph_of(read(text).graph).edges) == set(graph.edges)
    assert "parallel" not in text
    assert "required" not in text
    assert "delay: 60" in text


def test_it_names_each_function_and_workflow_once() -> None:
    functions, workflows = references(read(TEXT).graph)
    assert set(functions) == {"acme/bolts:size@1.2.0", "o/p:f@1"}
    assert set(workflows) == {"acme/sub@3", "acme/other@1", "o/w@1", "acme/mail@2"}


@pytest.mark.parametrize(
    ("before", "after", "code", "line"),
    [
        ("workflow: bolt-check\n", "", "missing_key", 0),
        ("name: Bolt check", "titel: x", "unknown_key", 3),
        ("    input: Integer", "    inputs: Integer", "unknown_key", 9),
        ("    input: Integer", "    delay: 1\n    input: Integer", "missing_key", 9),
        ("{load: load, n: count}", "{load: 3}", "wrong_type", 13),
        ("{load: load, n: count}", "[load]", "wrong_type", 13),
        ("at: [1, 2.5]", "at: 3", "wrong_type", 10),
        ("function: acme/bolts:size@1.2.0", "function: [1]", "wrong_type", 12),
        ("acme/other@1}", "acme/other@1, function: x}", "wrong_type", 24),
        ("  count:\n", "  load:\n", "duplicate_key", 8),
        ("{delay: 60}", "60", "wrong_type", 30),
        ("max_iterations: 5, ", "", "missing_key", 34),
    ],
)
def test_a_mistake_is_told_with_its_line(before: str, after: str, code: str, line: int) -> None:
    assert before in TEXT
    found = read_document(TEXT.replace(before, after, 1).encode())
    assert [problem.code for problem in found.problems][:1] == [code]
    if line:
        assert found.problems[0].message.startswith(f"Line {line}: ")
    with pytest.raises(MecapyError) as refused:
        found.checked()
    assert refused.value.code == "workflow_document_invalid"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\nb: *a\n",
        "a: &a [*a]\n",
        "a: !!python/object/apply:os.system [id]\n",
        "<<: {x: 1}\n",
        "[" * 100_000,
        "- " * 100_000,
        "a: 1\n---\nb: 2\n",
        "? [a, b]\n: 1\n",
        "a: \x00",
        "x: " + "y" * (4 << 20),
    ],
)
def test_yaml_that_means_harm_is_refused(text: str) -> None:
    with pytest.raises(MecapyError) as refused:
        read_document(text.encode())
    assert refused.value.code == "workflow_unreadable"


def test_every_mistake_is_told_at_once() -> None:
    text = TEXT.replace("{delay: 60}", "60").replace("at: [1, 2.5]", "at: 3").replace("name: Bolt", "titel: Bolt")
    assert len(read_document(text.encode()).problems) == 3


def test_lines_of_what_the_platform_finds() -> None:
    found = read_document(TEXT.encode())
    assert found.line_of(node="load", field="input_spec.type_expr") == 7
    assert found.line_of(node="check", field="expression") == 16
    assert found.line_of(node="size", field="function_version_id") == 12
    assert found.line_of(node="choose", field="cases.0.body") == 33
    assert found.line_of(node="size", field="retry.max") == 14
    assert found.line_of(field="on_failure") == 4
    assert found.line_of(node="nowhere") == 0
    at = {(edge["target_node_key"], edge["alias"]): index for index, edge in enumerate(found.document.graph["edges"])}
    assert found.line_of(edge=at["each", "b"]) == 21
    assert found.line_of(edge=at["each", "z"]) == 22


def test_keys_with_dots_are_found_and_written_so_that_they_are_found() -> None:
    text = (
        "workflow: w\nnodes:\n  a: {input: Float}\n  a.b: {input: Float}\n  a.b.value: {delay: 1, from: {value: %s}}\n"
    )
    for source, wanted in (
        ("a.b", ("a.b", "value")),
        ("a/b", ("a", "b")),
        ("a.b.c", ("a.b", "c")),
        ("a.b/value", ("a.b", "value")),
        ("x.y", ("x", "y")),
    ):
        document = read(text % source)
        edge = document.graph["edges"][0]
        assert (edge["source_node_key"], edge["source_port"]) == wanted
        assert read(write_document(document)).graph["edges"] == document.graph["edges"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1, max_size=12)


@given(
    st.dictionaries(KEYS, JSON, min_size=1, max_size=4),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60),
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_survives_writing_and_reading(constants: dict[str, Any], description: str) -> None:
    nodes = [
        {"node_key": key, "node_kind": "constant", "value": value, "type_expr": "Object"}
        for key, value in constants.items()
        if value is not None
    ]
    edges = [
        {"source_node_key": a, "source_port": b, "target_node_key": node["node_key"], "target_port": b, "alias": a}
        for node in nodes
        for a, b in zip(constants, reversed(constants), strict=True)
    ]
    document = WorkflowDocument("w", "n", description or None, {"nodes": nodes, "edges": edges})
    again = read(write_document(document))
    assert json.dumps(again.graph["nodes"]) == json.dumps(nodes)
    assert {json.dumps(edge) for edge in again.graph["edges"]} == {json.dumps(edge) for edge in edges}
    assert again.description == document.description


@given(documents())
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_any_graph_of_any_kind_survives_writing_and_reading(form: dict[str, Any]) -> None:
    keys = {node["node_key"] for node in form["nodes"]}
    graph = graph_of({**form, "edges": [each for each in form["edges"] if each["target_node_key"] in keys]})
    text = write_document(WorkflowDocument("w", None, None, as_json(graph)))
    again = read(text)
    found = graph_of(again.graph)
    assert found.nodes == graph.nodes
    assert sorted(map(repr, found.edges)) == sorted(map(repr, graph.edges))
    assert found.on_failure == graph.on_failure
    assert updated(text, again) == text
    assert as_text(again)
    assert differences(WorkflowDocument("w", None, None, as_json(graph)), again) == []
    jsonschema.Draft202012Validator(document_schema()).validate(read_yaml(text.encode(), KIND).value)


def test_documents_fit_their_published_schema() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    assert schema == document_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for text in (TEXT, write_document(read(TEXT))):
        assert not list(validator.iter_errors(yaml.safe_load(text.replace(" on: ", ' "on": '))))
    assert list(validator.iter_errors(yaml.safe_load("workflow: w\nnodes: {a: {delay: 1, input: Float}}")))


def test_the_text_of_a_graph_goes_step_by_step() -> None:
    shown = as_text(read(TEXT), 3)
    assert shown.startswith("bolt-check @3  Bolt check\n13 nodes, 8 edges\n\ngiven\n  load: input")
    assert "step 1\n  size: acme/bolts:size@1.2.0\n      load <- load\n      n <- count\n" in shown
    assert re.search(r"step 4\n\* ok: approval", shown)
    assert "when the run fails: alert" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_the_text_of_a_graph_with_a_circle_names_it() -> None:
    text = (
        "workflow: w\nnodes:\n  a: {delay: 1, from: {value: b}}\n  b: {delay: 1, from: {value: a}}\n  c: {delay: 1}\n"
    )
    assert "these wait for each other: a, b" in as_text(read(text))


def test_differences_name_what_came_went_changed_and_was_raised() -> None:
    other = read(
        TEXT.replace("size@1.2.0\n", "size@1.3.0\n")
        .replace("n: count}", "n: load}")
        .replace("  wait: {delay: 60}\n", "  later: {delay: 61}\n")
        .replace("max: 2", "max: 3")
        .replace("at: [1, 2.5]", "at: [9, 9]")
        .replace("name: Bolt check", "name: Bolts")
    )
    found = [change.as_text() for change in differences(read(TEXT), other)]
    assert found == [
        "~ workflow bolt-check: name  Bolt check -> Bolts",
        "- node wait {delay: 60}",
        '~ node size: function  "acme/bolts:size@1.2.0" -> "acme/bolts:size@1.3.0"',
        "~ node size: retry.max  2 -> 3",
        "+ node later {delay: 61}",
        "- edge size.n <- count",
        "+ edge size.n <- load",
    ]
    assert differences(read(TEXT), read(write_document(read(TEXT)))) == []


def test_comments_stay_where_the_graph_is_the_same() -> None:
    document = read(TEXT)
    shuffled = {**document.graph, "nodes": list(reversed(document.graph["nodes"]))}
    again = WorkflowDocument(document.slug, document.name, document.description, shuffled)
    assert updated(TEXT, again) == TEXT


COMMENTED = """\
# Who asks: Anna
workflow: w
# the inputs
nodes:
  # a length
  a: {input: Length}   # in metres

  # what is done with it
  b:
    function: o/p:f@1.0   # pinned
    from: {x: a}
  c: {delay: 1}
  # the end
"""


def test_comments_and_form_of_nodes_that_stay_are_kept() -> None:
    other = read(COMMENTED.replace("f@1.0", "f@2.0").replace("  c: {delay: 1}\n", "  d: {delay: 2}\n"))
    text = updated(COMMENTED, other)
    assert are_same(read(text), other)
    assert text.startswith(COMMENTED[: COMMENTED.index("  b:")])
    assert "  b:\n    function: o/p:f@2.0\n    from: {x: a}\n" in text
    assert "c:" not in text


def test_a_new_head_keeps_the_comments_of_the_old_one() -> None:
    document = read(COMMENTED)
    text = updated(COMMENTED, WorkflowDocument("w", "Named", "now", document.graph))
    assert text.startswith(
        "# Who asks: Anna\n# the inputs\nworkflow: w\nname: Named\ndescription: now\nnodes:\n  # a length\n"
    )
    assert "# pinned" in text


@pytest.mark.parametrize(
    "text",
    ["", "not: a workflow", "nodes: {a: {delay: 9}}\nworkflow: w\n", "workflow: w\nnodes:\n  a: {delay: 9}\nname: x\n"],
)
def test_a_text_of_another_shape_is_written_anew(text: str) -> None:
    document = read("workflow: w\nnodes:\n  a: {delay: 1}\n")
    assert updated(text, document) == write_document(document)


def test_the_guide_shows_what_holds() -> None:
    guide = Path(__file__).parents[2] / "docs/howto/write-a-workflow.md"
    first = re.findall("```yaml\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)[0]
    document = read(first)
    assert graph_of(ids(dict(document.graph))).nodes.keys() == {"load", "diameter", "size", "margin", "decision"}
    assert are_same(read(write_document(document)), document)
