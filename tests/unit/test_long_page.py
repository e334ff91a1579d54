"""The page of the long tests says what ran on which commit, and what did not."""

from pathlib import Path

from support.cases import page, read_piece

JUNIT = """<testsuites><testsuite time="120">
<testcase classname="tests.e2e.test_a" name="test_one[x]"/>
<testcase classname="tests.e2e.test_a" name="test_two"><failure>it fell</failure></testcase>
<testcase classname="tests.e2e.test_a" name="test_short"/>
</testsuite></testsuites>"""
LONG = [f"tests/e2e/test_a.py::{name}" for name in ("test_one[x]", "test_two", "test_three")]


def test_a_page_of_a_piece_names_its_commit_and_what_was_not_run(tmp_path: Path) -> None:
    report = tmp_path / "long-0123456789ab-first.xml"
    report.write_text(JUNIT)
    text = page([read_piece(report)], LONG, "2026-01-01")
    assert "- Cases: 3; passed 1, failed 1, skipped 0, not run 1\n" in text
    assert "| `0123456789ab` | 2 | 2 |\n" in text
    assert "| `tests/e2e/test_a.py` | 3 | 1 | 1 | 0 | 1 |\n" in text


def test_a_later_piece_replaces_what_an_earlier_one_said(tmp_path: Path) -> None:
    first, second = tmp_path / "long-0-first.xml", tmp_path / "long-1-second.xml"
    first.write_text(JUNIT)
    second.write_text(JUNIT.replace("<failure>it fell</failure>", ""))
    assert "passed 2, failed 0" in page([read_piece(first), read_piece(second)], LONG, "2026-01-01")
