"""Every code that the source raises is explained in docs/reference/errors*.md, and no page explains what is gone."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mecapy_platform

ROOT = Path(mecapy_platform.__file__).parent
PAGES = Path(__file__).parents[2] / "docs/reference"
CODE = re.compile("[a-z][a-z0-9_]{2,63}")
PLACES = {
    "Problem": (1,),
    "GraphProblem": (0,),
    "problem": (1,),
    "problem_response": (2,),
    "Outcome": (2,),
    "Misfit": (0,),
    "WaitReason": (0,),
    "ResultError": (1,),
    "_invalid": (1,),
}
NO_CODES = {"ValueError", "JsonError"}  # JsonError's become result_..
COMPOSED = {f"{key}_{fault}" for key in ("handler", "entrypoint") for fault in ("missing", "not_allowed")} | {
    "result_not_json"
}


def called(node: ast.Call) -> str:
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


def is_of_a_failure(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Name) and part.id == "FailureKind" for part in ast.walk(node))


def codes_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        given: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = called(node)
            places = PLACES.get(name, (0,) if name.endswith("Error") and name not in NO_CODES else ())
            given = [node.args[place] for place in places if place < len(node.args)]
            given += [word.value for word in node.keywords if word.arg in {"code", "error_code"}]
        elif isinstance(node, ast.Tuple) and len(node.elts) > 1 and is_of_a_failure(node.elts[0]):
            given = [node.elts[1]]
        yield from (
            item.value
            for item in given
            if isinstance(item, ast.Constant) and isinstance(item.value, str) and CODE.fullmatch(item.value)
        )


@cache
def raised() -> dict[str, str]:
    """Code -> the file that uses it."""
    found: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*.py")):
        for code in codes_of(ast.parse(path.read_text("utf-8"))):
            found.setdefault(code, str(path.relative_to(ROOT)))
    return found


@cache
def explained() -> set[str]:
    """Codes in the first column of the tables."""
    rows = [line for page in sorted(PAGES.glob("errors*.md")) for line in page.read_text("utf-8").splitlines()]
    heads = [row.split("|")[1] if row.startswith("|") else row for row in rows if row.startswith(("| `", "| · `", "`"))]
    return {code for head in heads for code in re.findall(r"`([a-z][a-z0-9_]+)`", head)}


def test_every_code_that_is_raised_is_explained() -> None:
    missing = {code: place for code, place in raised().items() if code not in explained()}
    assert not missing


def test_the_look_at_the_source_finds_what_it_should() -> None:
    assert {
        "inputs_invalid",
        "process_limit",
        "timeout",
        "body_too_large",
        "result_not_finite",
        "never_fits",
        "build_lost",
    } <= set(raised())


def test_no_page_explains_a_code_that_is_gone() -> None:
    text = "\n".join(path.read_text("utf-8") for path in ROOT.rglob("*.py"))
    gone = {
        code
        for code in explained() - COMPOSED - set(raised())
        if f'"{code}"' not in text and not code.startswith("result_")
    }
    assert not gone
