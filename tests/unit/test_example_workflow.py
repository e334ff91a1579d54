"""The example from a deck to a decision: it holds for the packages beside it, and decides as beam theory says."""

from pathlib import Path
from uuid import UUID

import pytest

from mecapy_platform.core.expressions import check, parse
from mecapy_platform.core.manifest import parse_manifest
from mecapy_platform.core.types import parse_type
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.workflows.border import converter
from mecapy_platform.core.workflows.documents import as_text, read_document, references, renamed
from mecapy_platform.core.workflows.graph import Graph, Node
from mecapy_platform.core.workflows.read import graph_of
from mecapy_platform.core.workflows.signatures import Catalog, FunctionSignature, ports_of_function
from mecapy_platform.core.workflows.validation import validate

EXAMPLES = Path(__file__).parents[2] / "examples"
SOLVE = UUID(int=1)
DOCUMENT = read_document((EXAMPLES / "workflows/cantilever-check.yml").read_bytes()).checked()


@pytest.fixture
def graph() -> Graph:
    return graph_of(renamed(DOCUMENT.graph, lambda _: str(SOLVE), lambda name: name))


def signature() -> FunctionSignature:
    """Of `solve`, as its manifest declares it."""
    manifest = parse_manifest((EXAMPLES / "calculix/mecapy.yml").read_bytes())
    function = manifest.functions["solve"]
    inputs, outputs = (ports_of_function(side, UnitSystem.SI) for side in (function.inputs, function.outputs))
    return FunctionSignature(SOLVE, "acme/calculix:solve@1.1.0", UUID(int=2), inputs, outputs)


def value(graph: Graph, key: str, **given: object) -> object:
    """What an expression node gives for the values at its ports."""
    node: Node = graph.nodes[key]
    types = {name: parse_type(kind) for name, kind in node.ports.items()}
    return check(parse(str(node.expression)), types, parse_type(node.type_expr)).evaluate(given)


def test_it_holds_for_the_package_beside_it(graph: Graph) -> None:
    manifest = parse_manifest((EXAMPLES / "calculix/mecapy.yml").read_bytes())
    assert references(DOCUMENT.graph) == ((f"acme/calculix:solve@{manifest.package.version}",), ())
    report = validate(graph, Catalog({SOLVE: signature()}))
    assert [problem.message for problem in report.problems] == []
    converted = {(item["target"], item["changes"][0]["factor"]) for item in report.conversions}
    assert converted == {("margin.stress", 1e6), ("margin.deflection", 1e-3)}
    assert "step 1\n  solve: acme/calculix:solve@1.1.0\n      deck <- deck\n" in as_text(DOCUMENT)


@pytest.mark.parametrize(
    ("yield_strength", "allowed", "margin", "decision"),
    [
        (235e6, 0.5e-3, 0.5 / 0.192151, "accepted"),  # deflection decides: 2.60 before 3.92 of the stress
        (80e6, 0.5e-3, 80 / 60, "review"),
        (80e6, 0.1e-3, 0.1 / 0.192151, "rejected"),
    ],
)
def test_it_decides_as_beam_theory_says(
    graph: Graph, yield_strength: float, allowed: float, margin: float, decision: str
) -> None:
    """Of the deck in examples/calculix/tests: 60 MPa at the support and 0.192151 mm at the loaded corner."""
    si = [
        converter(parse_type(first), UnitSystem.SI, parse_type(second), UnitSystem.SI)
        for first, second in (("Float[MPa]", "Stress"), ("Float[mm]", "Length"))
    ]
    assert si[0] is not None
    assert si[1] is not None
    given = {"stress": si[0](60.0), "deflection": si[1](0.192151), "yield_strength": yield_strength, "allowed": allowed}
    found = value(graph, "margin", **given)
    assert found == pytest.approx(margin)
    assert value(graph, "decision", margin=found) == decision
