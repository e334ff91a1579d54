"""Every test that the page on security names must exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"`(test_[a-z0-9_]+)(\.py)?`")


def test_the_page_names_tests_that_exist() -> None:
    named = NAME.findall((ROOT / "docs" / "security.md").read_text("utf-8"))
    files = list((ROOT / "tests").rglob("*.py"))
    functions = set(re.findall(r"def (test_[a-z0-9_]+)\(", "\n".join(path.read_text("utf-8") for path in files)))
    modules = {path.stem for path in files}
    assert len(named) >= 20
    assert [name for name, ending in named if name not in (modules if ending else functions)] == []
