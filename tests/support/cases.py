"""The cases of all tests, as pytest collects them, and what a run of the long ones is written down as.

python tests/support/cases.py functions    the test functions with the number of their cases: tests/cases.txt
python tests/support/cases.py ended FILE.. docs/reference/long-tests.md from the JUnit files of a run and its pieces

A file is named long-COMMIT.xml or long-COMMIT-PIECE.xml. MECAPY_TEST_SEED must be that of the run: seeds are in names.
"""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
KNOWN = ROOT / "tests" / "cases.txt"
PAGE = ROOT / "docs" / "reference" / "long-tests.md"
ENDS = {"failed": ("failure", "error"), "skipped": ("skipped",)}  # a word and the elements that say it
WORDS = ("passed", "failed", "skipped")
HEAD = """# The last run of the long tests

`make test-long` runs what `make test` samples: every backend of the attack suite and of the real packages in full,
thirty kills at random moments, counts by the million. CI leaves it out; it is run, and this page renewed, before a
change of the platform is called done.

"""


def collected(marks: str = "") -> list[str]:
    """The ids of all cases that a selection of marks leaves."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", marks]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 5}:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])
    return [line for line in done.stdout.splitlines() if re.match(r"tests/\S+\.py::", line)]


def functions(ids: list[str]) -> Counter[str]:
    """How many cases each test function has."""
    return Counter(name.partition("[")[0] for name in ids)


def known() -> dict[str, int]:
    rows = (line.rpartition(" ") for line in KNOWN.read_text("utf-8").splitlines())
    return {name: int(count) for name, _, count in rows}


def write_known() -> None:
    found = functions(collected())
    KNOWN.write_text("".join(f"{name} {count}\n" for name, count in sorted(found.items())), "utf-8")


@dataclass(frozen=True)
class Piece:
    """One JUnit file: what ended how on which commit."""

    commit: str
    ends: Mapping[str, str]  # case -> passed | failed | skipped
    minutes: float


def read_piece(report: Path) -> Piece:
    suite = ET.parse(report).getroot().find("testsuite")
    if suite is None:
        raise RuntimeError(f"{report} holds no run")
    ends: dict[str, str] = {}
    for case in suite.iter("testcase"):
        end = next((word for word, tags in ENDS.items() if any(case.find(tag) is not None for tag in tags)), "passed")
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        ends[name] = end if ends.get(name) != "failed" else "failed"  # a case and its end are two entries at times
    return Piece(report.stem.split("-")[1], ends, float(suite.get("time", "0")) / 60)


def page(pieces: Sequence[Piece], long_cases: Sequence[str], date: str) -> str:
    """Commits, counts, and of each module how many of its long cases ran; a later piece replaces an earlier one."""
    ended = {name: end for piece in pieces for name, end in piece.ends.items() if name in set(long_cases)}
    commits = [
        f"| `{piece.commit}` | {sum(name in ended for name in piece.ends)} | {piece.minutes:.0f} |" for piece in pieces
    ]
    rows = []
    for module, count in sorted(Counter(name.partition("::")[0] for name in long_cases).items()):
        ends = Counter(end for name, end in ended.items() if name.startswith(f"{module}::"))
        rows.append(
            f"| `{module}` | {count} | {' | '.join(str(ends[word]) for word in WORDS)} | {count - ends.total()} |"
        )
    total = Counter(ended.values())
    return (
        f"{HEAD}- Date: {date}\n- Cases: {len(long_cases)}; {', '.join(f'{word} {total[word]}' for word in WORDS)}, "
        f"not run {len(long_cases) - len(ended)}\n\n| commit | cases | minutes |\n|---|---|---|\n"
        + "".join(f"{line}\n" for line in commits)
        + "\n| module | cases | passed | failed | skipped | not run |\n|---|---|---|---|---|---|\n"
        + "".join(f"{line}\n" for line in rows)
    )


if __name__ == "__main__":
    if sys.argv[1] == "functions":
        write_known()
    else:
        pieces = [read_piece(Path(name)) for name in sys.argv[2:]]
        PAGE.write_text(page(pieces, collected("long"), f"{datetime.now(UTC):%Y-%m-%d}"), "utf-8")
