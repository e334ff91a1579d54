"""How `mecapy run` reads what stands behind `name=`: by the declared type of the port, in its own words."""

import copy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mecapy_platform.cli.arguments import Arguments, parse_arguments
from mecapy_platform.cli.main import app
from mecapy_platform.cli.reading import in_words_of_the_command_line, read_arguments
from mecapy_platform.cli.results import rows
from mecapy_platform.client.catalog import Catalog, CatalogType
from mecapy_platform.client.packages import Function, Port
from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.values import check_inputs
from support.platform.fake_platform import FUNCTION, PACKAGE, TOKEN, problem, serve


def read(kind: str, text: str) -> Any:
    return read_arguments(parse_arguments([f"x={text}"], None), {"x": kind}).inputs["x"]


@pytest.mark.parametrize("text", ["8.8", "0012", "true", "null", "1e3", "S355", "1,5", "[1, 2]", "{}", "-", "1_000"])
@pytest.mark.parametrize("kind", ["String", "literal[a, b]"])
def test_text_that_looks_like_something_else_stays_text(kind: str, text: str) -> None:
    assert read(kind, text) == text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("String", '"8.8"', "8.8"),
        ("Float", "12", 12),
        ("Float", "12,5", 12.5),
        ("Float", "1\u202f234,5", 1234.5),
        ("Float", "1,5e3", 1500),
        ("Integer", "1 000", 1000),
        ("Integer", "4", 4),
        ("Float", "12 mm", "12 mm"),
        ("Float", "null", None),
        ("Length", "12", 12),
        ("Length", "12 mm", "12 mm"),
        ("Length", "12,5", "12,5"),
        ("Float[N/m]", "5 kN/m", "5 kN/m"),
        ("Boolean", "true", True),
        ("Boolean", "False", False),
        ("Boolean", "1", "1"),
        ("list[String]", '[8.8, true, "x"]', ["8.8", "true", "x"]),
        ("list[Float]", "[1, 2.5]", [1, 2.5]),
        ("list[Float]", "1,5; 2,5", [1.5, 2.5]),
        ("list[Length]", "1,5; 2,5 mm", ["1,5 mm", "2,5 mm"]),
        ("list[Length]", "1 m; 2,5 mm", ["1 m", "2,5 mm"]),
        ("list[String]", "8.8; S355", ["8.8", "S355"]),
        ("Force3", "0; 0; -5 kN", ["0 kN", "0 kN", "-5 kN"]),
        ("Vector3", "[1, 2, 3]", [1, 2, 3]),
        ("Matrix", "[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("dict[str, String]", '{"a": 8.8}', {"a": "8.8"}),
        ("{grade: String, n: Integer}", '{"grade": 8.8, "n": 2}', {"grade": "8.8", "n": 2}),
        ("Object", '{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("Object", "free text", "free text"),
        ("SomeTypeOfTheFuture", "8.8", 8.8),
    ],
)
def test_a_value_is_read_by_the_type_of_its_port(kind: str, text: str, value: Any) -> None:
    found = read(kind, text)
    assert found == value
    assert type(found) is type(value)


def test_a_choice_of_numbers_is_met_by_its_text() -> None:
    kind = "literal[8.8, 10.9, true]"
    assert [check_inputs({"x": {"type": kind}}, {"x": read(kind, text)}, {})["x"] for text in ("8.8", "true")] == [
        8.8,
        True,
    ]


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("Float", "1,234", "1234"),
        ("list[Float]", "1; 1,234", "two readings"),
        ("list[Length]", "1 m; 2; 3 mm", "with and without a unit"),
    ],
)
def test_what_has_two_readings_is_refused_before_it_is_sent(kind: str, text: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(kind, text)
    assert said in caught.value.problems[0].message


def test_a_path_at_a_file_port_is_a_file(tmp_path: Path) -> None:
    deck = tmp_path / "beam.inp"
    deck.write_text("*STEP")
    ports = {"deck": "File[inp]", "title": "String"}
    found = read_arguments(parse_arguments([f"deck={deck}", f"title={deck}"], None), ports)
    assert (found.files, found.inputs) == ({"deck": deck}, {"title": str(deck)})
    again = read_arguments(Arguments(inputs={"deck": str(deck)}), ports)
    assert (again.files, again.inputs) == ({"deck": deck}, {})


def test_mistakes_about_files_are_said_in_words_of_the_command_line(tmp_path: Path) -> None:
    part = tmp_path / "a.step"
    part.touch()
    given = parse_arguments(["deck=nowhere.inp", f"title=@{part}"], None)
    with pytest.raises(InvalidInputError) as caught:
        read_arguments(given, {"deck": "File", "title": "String"})
    said = {problem.path: problem.message for problem in caught.value.problems}
    assert "deck=@PATH" in said["deck"]
    assert "nowhere.inp" in said["deck"]
    assert "title=@@" in said["title"]


@pytest.mark.parametrize("ports", [{"deck": "File"}, {}])
def test_every_refusal_about_files_is_translated(ports: dict[str, str]) -> None:
    declared = {"deck": {"type": "File"}, "n": {"type": "Integer"}}
    cases: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
        ({"n": 1, "deck": "x"}, {}),
        ({"n": 1}, {}),
        ({"n": 1}, {"deck": 1, "n": 1}),
    )
    for inputs, files in cases:
        with pytest.raises(InvalidInputError) as caught:
            check_inputs(declared, inputs, files)
        here = in_words_of_the_command_line(caught.value, ports)
        said = here.message + " ".join(problem.message for problem in here.problems)
        assert "upload" not in said
        assert "deck=@PATH" in said or "n=VALUE" in said


def test_the_command_line_uses_the_types_of_the_function(tmp_path: Path) -> None:
    function: dict[str, Any] = copy.deepcopy(FUNCTION)
    function["io_spec"]["inputs"] = {"grade": {"type": "String"}, "factor": {"type": "Float"}, "deck": {"type": "File"}}
    deck = tmp_path / "beam.inp"
    deck.write_text("*STEP")
    with serve() as platform:
        platform.on("GET /packages", (200, {"packages": [{**PACKAGE, "functions": [function]}], "total": 1}))
        uploaded = {"upload_id": "u-1", "var_name": "deck", "filename": "beam.inp", "extension": "inp", "size_bytes": 5}
        platform.on("POST /packages/p-1/functions/size/uploads", (201, uploaded))
        here = {"MECAPY_API_URL": platform.url, "MECAPY_TOKEN": TOKEN}
        arguments = ["run", "bolts:size", "grade=8.8", "factor=12,5", f"deck={deck}"]
        done = CliRunner().invoke(app, arguments, env=here)
        assert done.exit_code == 0, done.stderr
        (sent,) = platform.calls("POST /tasks")
        assert sent.json["inputs"] == {"grade": "8.8", "factor": 12.5}
        assert sent.json["files"] == {"deck": "u-1"}
        missing = Problem("inputs.deck", "missing_input", "The file deck is missing.").as_dict()
        platform.on("POST /tasks", problem(422, "inputs_invalid", "The file deck is missing.", [missing]))
        refused = CliRunner().invoke(app, ["run", "bolts:size", "grade=8.8"], env=here)
        assert refused.exit_code == 7
        assert "deck=@PATH" in refused.stderr


UNIT_OF = {"Stress": "Pa", "Area": "m²", "Temperature": "K", "Mass": "kg", "Force": "N", "Moment": "N·m"}
CATALOG = Catalog({name: CatalogType(name, "scalar", "physical", unit=unit) for name, unit in UNIT_OF.items()})


@pytest.mark.parametrize(
    ("kind", "value", "shown", "plain"),
    [
        ("Stress", 562.5e6, ("562.5", "MPa"), ("5.625e+08", "Pa")),
        ("Stress", 1e5, ("100", "kPa"), ("100000", "Pa")),
        ("Stress", 99_999.0, ("99999", "Pa"), ("99999", "Pa")),
        ("Stress", -2.1e11, ("-210", "GPa"), ("-2.1e+11", "Pa")),
        ("Force", 250_000, ("250", "kN"), ("250000", "N")),
        ("list[Force]", [1.5e6, 20.0], ("[1.5, 2e-05]", "MN"), ("[1.5e+06, 20]", "N")),
        ("Area", 1e6, ("1e+06", "m²"), ("1e+06", "m²")),
        ("Temperature", 1e6, ("1e+06", "K"), ("1e+06", "K")),
        ("Mass", 1e6, ("1e+06", "kg"), ("1e+06", "kg")),
        ("Moment", 1e6, ("1e+06", "N·m"), ("1e+06", "N·m")),
        ("Float[N/m]", 1e6, ("1e+06", "N/m"), ("1e+06", "N/m")),
        ("Float", 1e6, ("1e+06", ""), ("1e+06", "")),
    ],
)
def test_large_values_have_a_prefix_where_the_unit_takes_one(
    kind: str, value: Any, shown: tuple[str, str], plain: tuple[str, str]
) -> None:
    function = Function("f", "f", "1.0.0", outputs=(Port("x", kind),))
    assert rows({"x": value}, function, CATALOG) == [("x", *shown)]
    assert rows({"x": value}, function, CATALOG, plain_si=True) == [("x", *plain)]


@pytest.mark.parametrize("path", ["beams", "deep/down/beams", "deep/beams/", "./beams"])
def test_a_new_package_is_named_by_the_last_part_of_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", path])
    assert done.exit_code == 0, done.output
    assert "name: beams" in (tmp_path / path / "mecapy.yml").read_text()
    assert CliRunner().invoke(app, ["init", path]).exit_code == 7


def test_a_new_package_in_the_folder_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beams").mkdir()
    monkeypatch.chdir(tmp_path / "beams")
    assert CliRunner().invoke(app, ["init", "."]).exit_code == 0
    assert "name: beams" in (tmp_path / "beams" / "mecapy.yml").read_text()


def test_a_last_part_that_is_no_name_is_refused_with_one_that_is(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["init", str(tmp_path / "My Beams")])
    assert refused.exit_code == 7
    assert "my-beams" in refused.output
    assert list(tmp_path.iterdir()) == []
