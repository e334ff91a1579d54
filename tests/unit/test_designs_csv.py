"""Points from CSV as spreadsheets write them, and CSV that a spreadsheet does not execute."""

import csv
import io
from typing import Any

import pytest

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.sampling.csv_writing import csv_pieces
from mecapy_platform.core.sampling.design import parse_design
from mecapy_platform.core.sampling.records import Design


def read(text: str | bytes) -> Design:
    return parse_design({"kind": "csv", "text": text}, new_seed=1)


def problems_of(text: str | bytes) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        read(text)
    return {problem.path: problem.code for problem in caught.value.problems}


def test_a_sheet_of_a_french_office_is_read_and_said() -> None:
    text = "\ufeffdiameter [mm];load (kN);steel\r\n12,5;3;S355\r\n-1,5e-1;,5;S235\r\n;;\r\n"
    design = read(text.encode())
    assert design.rows == (
        {"diameter": "12.5 mm", "load": "3 kN", "steel": "S355"},
        {"diameter": "-1.5e-1 mm", "load": ".5 kN", "steel": "S235"},
    )
    assert len(design.notes) == 3
    assert "byte order mark" in design.notes[0]
    assert "semicolons" in design.notes[1]
    assert "decimal marks" in design.notes[2]


def test_plain_csv_has_nothing_to_be_said() -> None:
    design = read('a,b,"c"\n1,2.5,"x, y"\n')
    assert design.rows == ({"a": 1, "b": 2.5, "c": "x, y"},)
    assert design.notes == ()


def test_letters_of_windows_are_read_and_said() -> None:
    design = read("größe;b\n1;2\n".encode("cp1252"))
    assert design.rows == ({"größe": 1, "b": 2},)
    assert "Windows-1252" in design.notes[0]


def test_missing_cells_are_refused_by_cell() -> None:
    assert problems_of("a,b\n1,\n,2\n3\n") == {
        "text.2.2": "cell_missing",
        "text.3.1": "cell_missing",
        "text.4.2": "cell_missing",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"text": "csv_unreadable"}),
        ("a,b\n", {"text": "csv_unreadable"}),
        ("a,b\n1,2,3\n", {"text.2.3": "cell_unexpected"}),
        ("a,a\n1,2\n", {"text.1.2": "csv_name_twice"}),
        ("a,=b\n1,2\n", {"text.1.2": "bad_text"}),
        ("a [mmm]\n1\n", {"text.1.1": "unknown_unit"}),
        ('a,b\n"1,2\n', {"text": "csv_unreadable"}),
        ("a\n1\0\n", {"text": "csv_unreadable"}),
        (b"PK\x03\x04\0\0", {"text": "csv_unreadable"}),
        ("a\n" + "x" * 1_001, {"text.2.1": "out_of_range"}),
        (",".join(f"a{n}" for n in range(101)) + "\n1\n", {"text": "out_of_range"}),
    ],
)
def test_what_is_no_table_of_points_is_refused(text: str | bytes, expected: dict[str, str]) -> None:
    assert problems_of(text) == expected


def test_a_sheet_that_is_wrong_throughout_is_refused_with_its_first_hundred_cells() -> None:
    with pytest.raises(InvalidInputError) as caught:
        read("a,b\n" + ",1\n" * 40_000)
    assert len(caught.value.problems) == 100


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "|x", "%x", "\u00a0=1"])
def test_formulas_are_defused_and_numbers_stay_numbers(text: str) -> None:
    written = "".join(csv_pieces(["name", text], [[text, -1.5], [text, 1e-9]]))
    head, *rows = csv.reader(io.StringIO(written, newline=""))
    assert [row[0] for row in (head[1:], *rows)] == [f"'{text}"] * 3
    assert [row[1] for row in rows] == ["-1.5", "1e-09"]


def test_cells_of_any_kind_are_written() -> None:
    row: list[Any] = [None, True, 3, {"a": [1]}, float("nan"), 'say "x"']
    written = "".join(csv_pieces(list("abcdef"), [row]))
    assert next(csv.reader(io.StringIO(written.partition("\r\n")[2]))) == [
        "",
        "true",
        "3",
        '{"a": [1]}',
        "NaN",
        'say "x"',
    ]


def test_many_rows_come_in_pieces() -> None:
    pieces = list(csv_pieces(["a"], ([n] for n in range(1_200))))
    assert len(pieces) == 3
    assert "".join(pieces).splitlines() == ["a", *map(str, range(1_200))]
