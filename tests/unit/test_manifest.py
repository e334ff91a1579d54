"""The package manifest: every row of its contract, and every problem at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mecapy_platform.core.errors import ConfigurationError, InvalidInputError, MalformedError, MecapyError, Problem
from mecapy_platform.core.manifest import Manifest, Visibility, parse_manifest
from mecapy_platform.core.resources import Resources

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/mecapy.yml"))
CONTRACT = b"""
version: "1"
package:
  name: bolt-sizing
  version: 1.2.0
  description: text
  author: A. Person
  license: Apache-2.0
  tags: [bolt]
  visibility: internal
  resources: {tier: nano}
runtime: {kind: python, version: "3.12", requirements: true}
functions:
  size:
    handler: bolts:size
    description: sizes
    inputs:  {diameter: {type: Length, required: true, description: d}, load: Force,
              part: "File[STEP, iges]", s: {F: Force3, M: Moment3}}
    outputs: {stress: {type: Stress}, report: {type: File, required: false}}
    resources: {tier: small, timeout: 120}
    testcases: tests/size.json
quality:
  validation_testcases: {on_deployment: true, fail_on_error: true}
tests: anything
norme: [1, 2]
"""


def manifest(**changes: Any) -> dict[str, Any]:
    """A small manifest; `a__b=value` changes one place, None takes it away."""
    whole: dict[str, Any] = {
        "version": "1",
        "package": {"name": "bolts", "version": "1.0.0"},
        "runtime": {"kind": "python", "version": "3.12"},
        "functions": {"f": {"handler": "m:f", "inputs": {"a": "Length"}, "outputs": {"b": "Force"}}},
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        block = whole
        for parent in parents:
            block = block.setdefault(parent, {})
        if value is None:
            block.pop(last, None)
        else:
            block[last] = value
    return whole


def parse(**changes: Any) -> Manifest:
    return parse_manifest(yaml.safe_dump(manifest(**changes)).encode())


def problems(text: bytes | dict[str, Any], **options: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidInputError) as caught:
        parse_manifest(text if isinstance(text, bytes) else yaml.safe_dump(text, sort_keys=False).encode(), **options)
    assert caught.value.code == "manifest_invalid"
    return caught.value.problems


def test_the_manifest_of_the_contract_is_read_whole() -> None:
    found = parse_manifest(CONTRACT)
    size = found.functions["size"]
    assert (found.package.name, found.package.version, found.package.visibility) == (
        "bolt-sizing",
        "1.2.0",
        Visibility.INTERNAL,
    )
    assert (found.runtime.version, found.runtime.requirements) == ("3.12", True)
    assert (found.quality.on_deployment, found.quality.fail_on_error) == (True, True)
    assert (size.handler, size.testcases, size.resources) == ("bolts:size", "tests/size.json", Resources(2, 2048, 120))
    assert size.io_spec == {
        "inputs": {
            "diameter": {"type": "Length", "description": "d", "required": True},
            "load": {"type": "Force", "description": None, "required": True},
            "part": {"type": "File[step,iges]", "description": None, "required": True},
            "s": {"type": "{F: Force3, M: Moment3}", "description": None, "required": True},
        },
        "outputs": {
            "stress": {"type": "Stress", "description": None, "required": True},
            "report": {"type": "File", "description": None, "required": False},
        },
    }
    assert json.loads(json.dumps(found.as_dict()))["quality"]["validation_testcases"]["on_deployment"] is True


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_are_valid(path: Path) -> None:
    assert parse_manifest(path.read_bytes()).functions


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"version": "2"}, "version", "bad_value"),
        ({"version": None}, "version", "missing_key"),
        ({"package": None}, "package", "missing_key"),
        ({"runtime": None}, "runtime", "missing_key"),
        ({"functions": None}, "functions", "missing_key"),
        ({"functions": {}}, "functions", "out_of_range"),
        ({"functions": ["f"]}, "functions", "wrong_type"),
        ({"package": "bolts"}, "package", "wrong_type"),
        ({"package__name": "Bolt_Sizing"}, "package.name", "bad_value"),
        ({"package__name": "-a"}, "package.name", "bad_value"),
        ({"package__name": "a--b"}, "package.name", "bad_value"),
        ({"package__name": None}, "package.name", "missing_key"),
        ({"package__version": "1.2"}, "package.version", "bad_value"),
        ({"package__version": "01.2.3"}, "package.version", "bad_value"),
        ({"package__description": 3}, "package.description", "wrong_type"),
        ({"package__tags": "bolt"}, "package.tags", "wrong_type"),
        ({"package__visibility": "secret"}, "package.visibility", "bad_value"),
        ({"package__colour": "red"}, "package.colour", "unknown_key"),
        ({"package__resources": {"tier": "huge"}}, "package.resources.tier", "bad_value"),
        ({"runtime__kind": "ruby"}, "runtime.kind", "bad_value"),
        ({"runtime__kind": None}, "runtime.kind", "missing_key"),
        ({"runtime__version": "3.9"}, "runtime.version", "bad_value"),
        ({"runtime__version": None}, "runtime.version", "missing_key"),
        ({"runtime__requirements": "yes please"}, "runtime.requirements", "wrong_type"),
        ({"runtime__image": "x"}, "runtime.image", "unknown_key"),
        ({"functions__f__handler": "m.f"}, "functions.f.handler", "bad_value"),
        ({"functions__f__handler": "m:C.f"}, "functions.f.handler", "bad_value"),
        ({"functions__f__handler": None}, "functions.f.handler", "handler_missing"),
        ({"functions__f__entrypoint": ["x"]}, "functions.f.entrypoint", "entrypoint_not_allowed"),
        ({"functions__f__handlr": "x"}, "functions.f.handlr", "unknown_key"),
        ({"functions__f__testcases": "../x.json"}, "functions.f.testcases", "bad_path"),
        ({"functions__f__testcases": "/x.json"}, "functions.f.testcases", "bad_path"),
        ({"functions__f__resources": {"tier": "nano", "cpu": 1}}, "functions.f.resources", "tier_and_explicit"),
        ({"functions__f__resources": {"cpu": 0}}, "functions.f.resources.cpu", "out_of_range"),
        ({"functions__f__resources": {"cpu": 1.5}}, "functions.f.resources.cpu", "wrong_type"),
        ({"functions__f__resources": {"cpu": True}}, "functions.f.resources.cpu", "wrong_type"),
        ({"functions__f__resources": {"timeout": 1801}}, "functions.f.resources.timeout", "above_cap"),
        ({"functions__f__resources": {"memory_mb": 9000}}, "functions.f.resources.memory_mb", "above_cap"),
        ({"functions__f__inputs__a": "Lenght"}, "functions.f.inputs.a", "unknown_type"),
        ({"functions__f__inputs__a": {"type": "Lenght"}}, "functions.f.inputs.a.type", "unknown_type"),
        ({"functions__f__inputs__a": {"description": "x"}}, "functions.f.inputs.a.type", "missing_key"),
        ({"functions__f__inputs__a": {"type": "Length", "unit": "mm"}}, "functions.f.inputs.a.unit", "unknown_key"),
        ({"functions__f__inputs__a": {"typ": "Length"}}, "functions.f.inputs.a.typ", "unknown_key"),
        ({"functions__f__inputs__a": "list[File]"}, "functions.f.inputs.a", "nested_file"),
        ({"functions__f__inputs": {"a b": "Length"}}, "functions.f.inputs.a b", "bad_name"),
        ({"functions__f__inputs": {"a/../b": "Length"}}, "functions.f.inputs.a/../b", "bad_name"),
        ({"functions__f__outputs__b": "Object"}, "functions.f.outputs.b", "object_output"),
        ({"functions__f__outputs__b": "list[Object]"}, "functions.f.outputs.b", "object_output"),
        (
            {"functions__f__outputs__b": {"type": "Force", "required": False}},
            "functions.f.outputs.b.required",
            "required_not_allowed",
        ),
        ({"functions__f__outputs": {"_artifacts": "Force"}}, "functions.f.outputs._artifacts", "bad_name"),
        ({"functions": {"a b": {"handler": "m:f"}}}, "functions.a b", "bad_name"),
        ({"quality": {"x": 1}}, "quality.x", "unknown_key"),
        (
            {"quality__validation_testcases": {"on_deployment": 1}},
            "quality.validation_testcases.on_deployment",
            "wrong_type",
        ),
        ({"platform": {"warmth": True}}, "platform.warmth", "unknown_key"),
        ({"platform__retries": {"max": 99}}, "platform.retries.max", "out_of_range"),
        ({"platform__retries": {"on": ["cancelled"]}}, "platform.retries.on", "bad_value"),
        ({"platform__units": "imperial"}, "platform.units", "bad_value"),
        ({"platform__needs": ["../ccx"]}, "platform.needs", "bad_value"),
        ({"platform__checks": {"x": True}}, "platform.checks.x", "unknown_key"),
        ({"platform__functions": {"g": {}}}, "platform.functions.g", "unknown_function"),
    ],
)
def test_one_mistake_is_named_by_path_and_code(changes: dict[str, Any], path: str, code: str) -> None:
    found = problems(manifest(**changes))
    assert (path, code) in [(problem.path, problem.code) for problem in found]
    assert len(found) <= 2


def test_modes_b_and_c_need_entrypoint_and_ports() -> None:
    other = manifest(runtime={"kind": "image", "image": "registry/ref:tag"}, functions={"f": {"handler": "m:f"}})
    codes = [(problem.path, problem.code) for problem in problems(other)]
    assert codes == [
        ("functions.f.entrypoint", "entrypoint_missing"),
        ("functions.f.handler", "handler_not_allowed"),
        ("functions.f.inputs", "ports_missing"),
        ("functions.f.outputs", "ports_missing"),
    ]
    good = {"f": {"entrypoint": ["/opt/run.sh", "--thermal"], "inputs": {}, "outputs": {"b": "Force"}}}
    assert parse(runtime={"kind": "dockerfile", "dockerfile": "Dockerfile"}, functions=good).runtime.context == "."
    assert parse(runtime={"kind": "image", "image": "registry/ref:tag"}, functions=good).functions["f"].entrypoint == (
        "/opt/run.sh",
        "--thermal",
    )


def test_ports_may_be_left_to_the_signature_in_mode_a() -> None:
    spec = parse(functions={"f": {"handler": "m:f"}}).functions["f"]
    assert (spec.inputs, spec.outputs, spec.io_spec) == (None, None, None)


def test_problems_come_in_the_order_of_the_contract_with_their_lines() -> None:
    text = CONTRACT.replace(b"load: Force", b"load: Forse").replace(b"timeout: 120", b"timeout: 99999")
    text = (
        text.replace(b"name: bolt-sizing", b"name: Bolt").replace(b"    handler: bolts:size\n", b"") + b"norme: twice\n"
    )
    found = problems(text)
    assert [problem.code for problem in found] == [
        "duplicate_key",
        "bad_value",
        "handler_missing",
        "above_cap",
        "unknown_type",
    ]
    assert found[1].message.startswith("Line 4:")
    assert found[4].path == "functions.size.inputs.load"


def test_a_flood_of_problems_is_cut_off() -> None:
    found = problems(b"package:\n" + b"".join(b"  key%d: 1\n" % index for index in range(5000)))
    assert (len(found), found[-1].code) == (101, "more_problems")


def test_versions_may_stand_without_quotes() -> None:
    text = CONTRACT.replace(b'"3.12"', b"3.10").replace(b'version: "1"', b"version: 1")
    assert parse_manifest(text).runtime.version == "3.10"


@pytest.mark.parametrize(
    ("package", "function", "expected"),
    [
        ({}, {}, Resources(2, 2048, 300)),
        ({"tier": "nano"}, {}, Resources(1, 512, 60)),
        ({"tier": "micro"}, {}, Resources(1, 1024, 120)),
        ({"tier": "medium"}, {}, Resources(2, 4096, 600)),
        ({"tier": "large"}, {}, Resources(4, 8192, 1800)),
        ({"tier": "nano"}, {"tier": "medium"}, Resources(2, 4096, 600)),
        ({"tier": "nano", "timeout": 10}, {"tier": "medium"}, Resources(2, 4096, 10)),
        ({"cpu": 3, "memory_mb": 700}, {"tier": "nano"}, Resources(1, 512, 60)),
        ({"tier": "medium"}, {"cpu": 1}, Resources(1, 4096, 600)),
        ({"cpu": 3}, {"memory_mb": 100, "timeout": 7}, Resources(3, 100, 7)),
    ],
)
def test_a_functions_resources_override_its_packages(
    package: dict[str, Any], function: dict[str, Any], expected: Resources
) -> None:
    assert parse(package__resources=package, functions__f__resources=function).functions["f"].resources == expected


def test_the_cap_is_the_organizations() -> None:
    text = yaml.safe_dump(manifest(functions__f__resources={"timeout": 259_200, "cpu": 16})).encode()
    assert parse_manifest(text, tier_cap="none").functions["f"].resources.timeout_seconds == 259_200
    assert parse_manifest(text, tier_cap="16:65536:604800").functions["f"].resources.cpu == 16
    assert {problem.code for problem in problems(text, tier_cap="nano")} == {"above_cap"}
    with pytest.raises(ConfigurationError):
        parse_manifest(text, tier_cap="enormous")


def test_reuse_is_a_whole_number_of_calls() -> None:
    assert parse(platform={"functions": {"f": {"reuse": 50}}}).functions["f"].options == {"reuse": 50}
    for value in (0, -1, 2.5, True, "many", 100_001):
        text = yaml.safe_dump(manifest(platform={"functions": {"f": {"reuse": value}}})).encode()
        assert [problem.path for problem in problems(text)] == ["platform.functions.f.reuse"], value
    assert "reuse" not in parse().functions["f"].options


def test_a_functions_platform_options_override_its_packages() -> None:
    own = {"f": {"warm": True, "needs": ["ccx"]}}
    shared = {"warm": False, "retries": {"max": 2, "on": ["timeout"]}, "units": "mm-N-MPa", "expected_seconds": 0.5}
    assert parse(platform={**shared, "functions": own}).functions["f"].options == {
        **shared,
        "warm": True,
        "needs": ["ccx"],
    }


@pytest.mark.parametrize(
    "text",
    [
        b"a: [",
        b"a: &x 1\nb: *x",
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        b"a: !!python/object/apply:os.system [id]",
        b"a: !custom 1",
        b"[" * 100_000,
        b"- " * 5_000 + b"a",
        b"{a: " * 60 + b"1" + b"}" * 60,
        b"\xff\xfe",
        b"\x00",
        b"a" * 300_000,
        b"--- {}\n--- {}\n",
        b"? [a]\n: b",
        b"a: 1\n\tb: 2",
    ],
)
def test_yaml_that_no_manifest_needs_is_unreadable(text: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_manifest(text)
    assert caught.value.code == "manifest_unreadable"


@pytest.mark.parametrize("text", [b"", b"3", b"- a", b"null", b"version: 9" + b"9" * 5000])
def test_yaml_that_is_no_manifest_is_invalid(text: bytes) -> None:
    assert problems(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=4,
    ),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_value_anywhere_is_taken_or_refused(value: Any, data: st.DataObject) -> None:
    places = [
        "version",
        "package",
        "package__tags",
        "runtime__version",
        "functions",
        "functions__f",
        "functions__f__inputs__a",
        "platform",
        "quality",
    ]
    changed = manifest(**{data.draw(st.sampled_from(places)): value})
    try:
        found = parse_manifest(yaml.safe_dump(changed).encode())
    except MecapyError as error:
        assert error.problems or error.code == "manifest_unreadable"  # noqa: PT017 - either outcome is right
    else:
        assert json.dumps(found.as_dict())
