"""Under the default policy hostile packages are stopped and honest ones pass. Sources are read, never run."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from checks_corpus.honest import HONEST
from checks_corpus.hostile import HOSTILE
from mecapy_platform.core.checks.findings import Finding
from mecapy_platform.core.checks.policy import DEFAULT_POLICY
from mecapy_platform.scan.main import Order, read_file
from mecapy_platform.worker.checks.review import SCANNED
from support.checking import write_package

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/mecapy.yml"))


def findings(folder: Path) -> tuple[Finding, ...]:
    order = Order(frozenset(SCANNED), 60)
    paths = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    return tuple(
        Finding.from_json(finding) for path in paths for finding in read_file(path, str(folder), order)["findings"]
    )


def stopping(folder: Path, files: Mapping[str, str | bytes]) -> set[str]:
    return {item.rule for item in DEFAULT_POLICY.stopping(findings(write_package(folder, files)))}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_package_is_stopped_by_the_rule_that_names_it(name: str, tmp_path: Path) -> None:
    assert stopping(tmp_path / "package", HOSTILE[name].files) & HOSTILE[name].rules


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_package_passes(name: str, tmp_path: Path) -> None:
    assert stopping(tmp_path / "package", HONEST[name]) == set()


@pytest.mark.parametrize("manifest", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_passes(manifest: Path) -> None:
    assert DEFAULT_POLICY.stopping(findings(manifest.parent)) == ()


def test_the_corpus_is_large_enough() -> None:
    assert len(HOSTILE) >= 25
    assert len(HONEST) >= 15
    assert len(EXAMPLES) >= 3
