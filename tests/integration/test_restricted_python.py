"""A formula under RestrictedPython: refused at deploy for what it says, and held by the guards when it runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.sandbox.base import Collected, Environment, Limits, Mode, SandboxSpec
from mecapy_platform.worker.checks.formulas import lay_guards
from support.checking import Reviewer, reviewer, write_package

ASKED = {"checks": {"restricted_python": True}}
LIMITS = Limits(cpu=1, memory_mb=512, timeout_seconds=30, disk_bytes=16 << 20)
FORMULA = """
import math
from dataclasses import dataclass

FACTORS = {"8.8": 0.6, "10.9": 0.5}


def stress(force: float, diameter: float, grades: list) -> dict:
    area = math.pi * diameter ** 2 / 4
    total = 0.0
    for number, (grade, share) in enumerate(grades):
        total += FACTORS[grade] * share + number * 0
    table = [[0.0] * 2 for _ in range(2)]
    table[0][1] = force
    label = f"{force:.1f} N over {area:.3g}"
    print(label)
    largest = max(table[0])
    return {"stress": force / area, "total": total, "largest": largest, "rows": len(table), "label": label.upper()}
"""


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewer]:
    with reviewer(tmp_path_factory.mktemp("restricted")) as made:
        yield made


def run(checks: Reviewer, package: Path, inputs: Path, **values: Any) -> Collected:
    (inputs / "files").mkdir(parents=True)
    (inputs / "data.json").write_text(json.dumps(values), "utf-8")
    for path in (inputs, inputs / "files"):
        path.chmod(0o755)
    lay_guards(inputs)
    spec = SandboxSpec(
        "restricted",
        1,
        package,
        inputs,
        LIMITS,
        Environment(checks.interpreter.executable),
        "formula:stress",
        mode=Mode.RESTRICTED,
    )
    with checks.context.sandbox.start(spec) as started:
        for _ in started.events():
            pass
        return started.collect()


def test_a_formula_passes_and_gives_its_result(checks: Reviewer, tmp_path: Path) -> None:
    package = write_package(tmp_path / "package", {"formula.py": FORMULA})
    assert checks.review(package, handlers={"stress": "formula:stress"}, options=ASKED).stopped is None
    collected = run(checks, package, tmp_path / "in", force=100.0, diameter=2.0, grades=[["8.8", 2.0], ["10.9", 1.0]])
    assert collected.error is None
    result = json.loads(collected.result or b"")
    assert result["stress"] == pytest.approx(31.83, rel=1e-3)
    assert (result["total"], result["largest"], result["rows"]) == (1.7, 100.0, 2)
    assert result["label"].startswith("100.0 N")


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "from subprocess import run",
        "x = ().__class__",
        "exec('1')",
        "import formula.other",
        "from . import other",
        "async def later(): pass",
    ],
)
def test_what_a_formula_may_not_say_is_refused_with_its_line(checks: Reviewer, tmp_path: Path, line: str) -> None:
    source = f"def stress(force: float) -> dict:\n    {line}\n    return {{'stress': force}}\n"
    package = write_package(tmp_path / "package", {"formula.py": source})
    reviewed = checks.review(package, handlers={"stress": "formula:stress"}, options=ASKED)
    assert reviewed.stopped is not None
    assert reviewed.stopped.code == "checks_failed"
    assert "formula.py:2" in {problem.path for problem in reviewed.stopped.problems}


def test_the_same_source_passes_where_nobody_asked_for_it(checks: Reviewer, tmp_path: Path) -> None:
    package = write_package(
        tmp_path / "package", {"formula.py": "import os\n\n\ndef stress(force: float) -> float:\n    return force\n"}
    )
    assert checks.review(package, handlers={"stress": "formula:stress"}).stopped is None


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("    open('/workspace/out/data.json', 'w')", "open"),
        ("    __import__('os')", "__import__"),
        ("    import os", "import os"),
        ("    math.sqrt = force", "may not change math"),
        ("    'x'.format(1)", "format"),
        ("    getattr(force, '__class__')", "getattr"),
    ],
)
def test_the_guards_hold_at_run_whatever_the_check_said(checks: Reviewer, tmp_path: Path, body: str, word: str) -> None:
    source = f"import math\n\n\ndef stress(force: float) -> dict:\n{body}\n    return {{'stress': math.sqrt(force)}}\n"
    package = write_package(tmp_path / "package", {"formula.py": source})
    collected = run(checks, package, tmp_path / "in", force=4.0)
    assert collected.result is None
    assert collected.error is not None
    assert word in str(collected.error["error"])


def test_a_package_cannot_bring_guards_of_its_own(checks: Reviewer, tmp_path: Path) -> None:
    lax = "def load_handler(handler, package, allowed):\n    return lambda force: {'stress': -1.0}\n"
    files = {
        "formula.py": "def stress(force):\n    return {'stress': force}\n",
        "mecapy_restricted.py": lax,
        "RestrictedPython.py": "1 / 0\n",
    }
    package = write_package(tmp_path / "package", files)
    assert json.loads(run(checks, package, tmp_path / "in", force=4.0).result or b"") == {"stress": 4.0}
