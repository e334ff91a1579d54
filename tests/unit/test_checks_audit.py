"""Known vulnerabilities: by an offline file where the service does not answer, and never a silent pass."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.worker.checks.audit import Audited, Auditor, from_database

LOCK = """\
numpy==1.21.0 \\
    --hash=sha256:aa
beam-lib[fast]==2.0.0 ; python_version >= '3.11' \\
    --hash=sha256:bb
"""
ADVISORY = {
    "id": "PYSEC-1",
    "package": "NumPy",
    "affected": ["<1.22"],
    "fixed": ["1.22"],
    "summary": "a buffer overflows",
}


def database(folder: Path, *advisories: dict[str, Any], **changes: Any) -> Path:
    path = folder / "advisories.json"
    path.write_text(json.dumps({"format": 1, "updated": "2026-11-01", "advisories": advisories, **changes}), "utf-8")
    return path


def auditor(folder: Path, database: Path | None = None) -> Auditor:
    return Auditor(folder / "cache", 3.0, use_service=False, database=database)


def test_an_affected_version_is_a_finding_with_what_to_do(tmp_path: Path) -> None:
    audited = auditor(tmp_path, database(tmp_path, ADVISORY)).audit(LOCK)
    (found,) = audited.findings
    assert audited.is_checked
    assert (found.rule, found.severity, found.file) == ("PYSEC-1", "high", "requirements.txt")
    assert "numpy 1.21.0" in found.why
    assert found.advice == "Ask for numpy>=1.22."
    assert "2026-11-01" in audited.said


@pytest.mark.parametrize("affected", [["<1.21"], ["==1.21.1"], [">=1.22,<2"], []])
def test_another_version_is_none(tmp_path: Path, affected: list[str]) -> None:
    audited = auditor(tmp_path, database(tmp_path, {**ADVISORY, "affected": affected})).audit(LOCK)
    assert (audited.findings, audited.is_checked) == ((), True)


def test_names_are_compared_as_the_index_compares_them(tmp_path: Path) -> None:
    audited = auditor(tmp_path, database(tmp_path, {**ADVISORY, "package": "Beam_Lib", "affected": ["<3"]})).audit(LOCK)
    assert [finding.rule for finding in audited.findings] == ["PYSEC-1"]


def test_without_service_and_file_it_says_that_nothing_was_checked(tmp_path: Path) -> None:
    audited = auditor(tmp_path).audit(LOCK)
    assert not audited.is_checked
    assert audited.said.startswith("not checked")


@pytest.mark.parametrize(
    "damage",
    [{"format": 2}, {"advisories": 3}, {"advisories": [{}]}, {"advisories": [{**ADVISORY, "affected": ["about 1"]}]}],
)
def test_a_damaged_file_is_not_a_pass(tmp_path: Path, damage: dict[str, Any]) -> None:
    audited = auditor(tmp_path, database(tmp_path, **damage)).audit(LOCK)
    assert not audited.is_checked
    assert "cannot be read" in audited.said


def test_a_file_that_is_not_there_is_not_a_pass(tmp_path: Path) -> None:
    assert not from_database(tmp_path / "none.json", [("numpy", "1.0")]).is_checked


def test_no_requirements_need_no_service(tmp_path: Path) -> None:
    assert auditor(tmp_path).audit(None).said == "no requirements"


def answered(folder: Path, answer: dict[str, Any], database: Path | None = None) -> Audited:
    """As if the service had said so a moment ago."""
    asked = Auditor(folder / "cache", 0.001, use_service=True, database=database)
    path = asked._answer_path([("numpy", "1.21.0"), ("beam-lib", "2.0.0")])
    path.parent.mkdir()
    path.write_text(json.dumps(answer), "utf-8")
    return asked.audit(LOCK)


def test_answers_of_the_service_become_findings(tmp_path: Path) -> None:
    told = {"package": "numpy", "id": "GHSA-1", "summary": "bad", "fixed": [], "aliases": []}
    audited = answered(tmp_path, {"vulnerabilities": [told], "unknown": []})
    assert [(finding.rule, finding.why) for finding in audited.findings] == [("GHSA-1", "numpy 1.21.0: bad")]
    assert audited.is_checked


def test_what_the_service_does_not_know_was_not_checked(tmp_path: Path) -> None:
    audited = answered(tmp_path, {"vulnerabilities": [], "unknown": ["Beam_Lib"]})
    assert not audited.is_checked
    assert "does not know beam-lib" in audited.said


def test_what_the_service_does_not_know_is_looked_up_in_the_file(tmp_path: Path) -> None:
    known = database(tmp_path, {**ADVISORY, "package": "beam-lib", "affected": ["<3"]})
    audited = answered(tmp_path, {"vulnerabilities": [], "unknown": ["beam-lib"]}, known)
    assert ([finding.rule for finding in audited.findings], audited.is_checked) == (["PYSEC-1"], True)


def test_an_answer_of_an_hour_ago_is_not_asked_for_again(tmp_path: Path) -> None:
    """The first of these asks nobody, as no process can answer within a millisecond."""
    asked = Auditor(tmp_path / "cache", 0.001, use_service=True, database=None)
    path = asked._answer_path([("numpy", "1.21.0"), ("beam-lib", "2.0.0")])
    path.parent.mkdir()
    path.write_text('{"vulnerabilities": [], "unknown": []}', "utf-8")
    assert asked.audit(LOCK).is_checked
    os.utime(path, (0, 0))
    assert not asked.audit(LOCK).is_checked


def test_a_service_that_does_not_answer_in_time_is_left_and_not_asked_again_at_once(tmp_path: Path) -> None:
    """No process can start and answer within a millisecond."""
    asked = Auditor(tmp_path / "cache", 0.001, use_service=True, database=database(tmp_path, ADVISORY))
    first, second = asked.audit(LOCK), asked.audit(LOCK)
    assert [len(item.findings) for item in (first, second)] == [1, 1]
    assert "did not answer within 0.001 s" in first.said
    assert "a moment ago" in second.said
