"""`mecapy test`: cases run in a real child process, judged as the platform judges them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.client.interpreters import find_interpreter
from mecapy_platform.client.local import Verdict, open_package, run_cases
from mecapy_platform.client.starter import python_version, write_package
from mecapy_platform.core.errors import InvalidInputError

HANDLER = """
import os, subprocess, sys, threading
from pathlib import Path

def double(x: float) -> float:
    print("doubling", x)
    if x < 0:
        raise ValueError("x must be above 0")
    return 2 * x

def leave(x: float) -> float:
    sys.exit(0)

def hang(x: float) -> float:
    threading.Event().wait(60)

def count(deck: Path) -> dict:
    out = Path(os.environ["MECAPY_SCRATCH"]).parent / "out" / "files"
    text = deck.read_text()
    (out / "copy.txt").write_text(text)
    return {"letters": len(text)}

def nothing(x: float) -> float:
    return float("nan")

def child(how: str) -> str:
    code = "import h, subprocess; print(h.double(2.0), subprocess.__name__)"
    flags = subprocess._args_from_interpreter_flags() if how == "flags" else []
    command = ["-m", "h"] if how == "module" else [*flags, "-c", code]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True).stdout.split()[-1]

def forks(how: str) -> str:
    if os.fork() == 0:
        if how == "raises":
            raise ValueError("only the child")
        return "child"
    os.wait()
    return "parent"

if __name__ == "__main__":
    print("started")
"""


def package(folder: Path, function: str, cases: list[dict[str, object]], **block: object) -> Path:
    """A package of one function with these test cases."""
    spec = {"handler": f"h:{function}", "testcases": "cases.json", **block}
    manifest = {
        "version": "1",
        "package": {"name": "p", "version": "1.0.0", "resources": {"tier": "nano", "timeout": 2}},
        "runtime": {"kind": "python", "version": python_version()},
        "functions": {function: spec},
    }
    (folder / "mecapy.yml").write_text(json.dumps(manifest))
    (folder / "h.py").write_text(HANDLER)
    (folder / "cases.json").write_text(json.dumps({"handler": f"h:{function}", "test_cases": cases}))
    return folder


def verdicts(folder: Path) -> list[Verdict]:
    return list(run_cases(open_package(folder)))


def test_a_new_package_passes_its_own_test(tmp_path: Path) -> None:
    write_package(tmp_path / "bolts", "bolts")
    assert [verdict.problems for verdict in verdicts(tmp_path / "bolts")] == [(), ()]


def test_ports_are_read_from_the_signature_and_units_converted(tmp_path: Path) -> None:
    inputs = {"x": {"type": "Length"}}
    folder = package(
        tmp_path, "double", [{"name": "mm", "request": {"x": "12 mm"}, "expected": {"result": 0.024}}], inputs=inputs
    )
    (verdict,) = verdicts(folder)
    assert verdict.problems == ()
    assert "doubling 0.012" in verdict.output


@pytest.mark.parametrize(
    ("function", "case", "said"),
    [
        (
            "double",
            {"request": {"x": 2}, "expected": {"result": 5}, "tolerance": {"numeric": 0.5}},
            "expected 5, got 4",
        ),
        ("double", {"request": {"x": -1}, "expected": {"result": 5}}, "ValueError: x must be above 0"),
        ("double", {"request": {"x": 1}, "expected_exception": "ValueError"}, "gave a result"),
        ("double", {"request": {"x": -1}, "expected_exception": "KeyError"}, "expected KeyError, but ValueError"),
        ("double", {"request": {"x": "two"}, "expected": {}}, "x"),
        ("double", {"request": {"y": 2}, "expected": {}}, "y"),
        ("leave", {"request": {"x": 1}, "expected": {}}, "sys.exit(0)"),
        ("hang", {"request": {"x": 1}, "expected": {}}, "its limit of 2 s"),
        ("nothing", {"request": {"x": 1}, "expected": {}}, "nan"),
        ("count", {"request": {"deck": "../outside"}, "expected": {}}, "no file of the package"),
    ],
)
def test_a_case_that_fails_says_why(tmp_path: Path, function: str, case: dict[str, object], said: str) -> None:
    (verdict,) = verdicts(package(tmp_path, function, [{"name": "case", **case}]))
    assert not verdict.has_passed
    assert said in " ".join(verdict.problems)


def test_an_expected_exception_passes(tmp_path: Path) -> None:
    (verdict,) = verdicts(
        package(tmp_path, "double", [{"name": "below", "request": {"x": -1}, "expected_exception": "ValueError"}])
    )
    assert verdict.has_passed


@pytest.mark.parametrize(("kind", "problems"), [("File[txt]", 0), ("File[csv]", 1)])
def test_files_go_in_and_out(tmp_path: Path, kind: str, problems: int) -> None:
    (tmp_path / "beam.inp").write_text("*NODE")
    ports: dict[str, Any] = {
        "inputs": {"deck": {"type": "File[inp]"}},
        "outputs": {"letters": {"type": "Integer"}, "copy": {"type": kind}},
    }
    case: dict[str, object] = {"name": "deck", "request": {"deck": "beam.inp"}, "expected": {"letters": 5}}
    (verdict,) = verdicts(package(tmp_path, "count", [case], **ports))
    assert len(verdict.problems) == problems


def test_a_test_case_file_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    folder = package(tmp_path, "double", [])
    (folder / "cases.json").unlink()
    (verdict,) = verdicts(folder)
    assert "cannot be read" in verdict.problems[0]


def test_a_function_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="It has: double"):
        list(run_cases(open_package(package(tmp_path, "double", [])), "triple"))


def test_this_interpreter_stands_in_where_none_matches(tmp_path: Path) -> None:
    found = find_interpreter("2.7", tmp_path)
    assert not found.is_match
    assert found.program == Path(sys.executable)


def test_this_interpreter_is_taken_where_it_matches(tmp_path: Path) -> None:
    assert find_interpreter(f"{sys.version_info[0]}.{sys.version_info[1]}", tmp_path).is_match


@pytest.mark.parametrize(("how", "said"), [("code", "subprocess"), ("flags", "subprocess"), ("module", "started")])
def test_an_interpreter_that_the_handler_starts_has_the_package(tmp_path: Path, how: str, said: str) -> None:
    folder = package(tmp_path, "child", [{"name": "c", "request": {"how": how}, "expected": {"result": said}}])
    assert [verdict.problems for verdict in verdicts(folder)] == [()]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("how", ["returns", "raises"])
def test_what_the_handler_forks_does_not_answer(tmp_path: Path, how: str) -> None:
    folder = package(tmp_path, "forks", [{"name": "c", "request": {"how": how}, "expected": {"result": "parent"}}])
    assert [verdict.problems for verdict in verdicts(folder)] == [()]
