import importlib
import json
import re
from pathlib import Path

import pytest
import yaml

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "write-a-package.md"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the guide shows, written where it says; `out/` and scratch space as a task has them."""
    for name, text in re.findall(
        r"^`(springs/[\w./]+)`\n```\w+\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "out" / "artifacts").mkdir(parents=True)
    monkeypatch.setenv("MECAPY_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.syspath_prepend(str(tmp_path / "springs"))
    return tmp_path / "springs"


def test_the_package_of_the_guide_gives_the_answers_of_its_test_cases(package: Path) -> None:
    cases = json.loads((package / "tests" / "stress.json").read_text())["test_cases"]
    handler = importlib.import_module("spring").stress

    for case in cases:
        outputs = handler(**case["request"])
        for port, expected in case["expected"].items():
            assert outputs[port] == pytest.approx(expected, abs=case["tolerance"]["numeric"], rel=0), case["name"]
    assert len(cases) == 2


def test_the_manifest_of_the_guide_names_what_the_package_has(package: Path) -> None:
    manifest = yaml.safe_load((package / "mecapy.yml").read_text())
    function = manifest["functions"]["stress"]

    assert (package / function["testcases"]).is_file()
    assert (package / f"{function['handler'].partition(':')[0]}.py").is_file()


def test_progress_and_artifacts_are_written_as_the_guide_shows(package: Path) -> None:
    result = importlib.import_module("progress").sweep(3)

    assert result == {"last": 9.0}
    assert [
        json.loads(line)["step"] for line in (package.parent / "out" / "progress.jsonl").read_text().splitlines()
    ] == [1, 2, 3]
    assert (package.parent / "out" / "artifacts" / "table.csv").read_text().endswith("3,9")
