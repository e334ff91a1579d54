"""The cases of all tests, as pytest collects them, and what a run of the long ones is written down as.

python tests/support/cases.py functions    the test functions with the number of their cases: tests/cases.txt
python tests/support/cases.py ended FILE   docs/reference/long-tests.md from the JUnit file of a run
"""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
KNOWN = ROOT / "tests" / "cases.txt"
PAGE = ROOT / "docs" / "reference" / "long-tests.md"
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


def write_page(report: Path) -> None:
    """Date, commit and counts of a run."""
    suite = ET.parse(report).getroot().find("testsuite")
    if suite is None:
        raise RuntimeError(f"{report} holds no run")
    count = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    passed = count["tests"] - count["failures"] - count["errors"] - count["skipped"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    by_module = Counter(case.get("classname", "") for case in suite.iter("testcase"))
    rows = "".join(f"| `{name.replace('.', '/')}.py` | {number} |\n" for name, number in sorted(by_module.items()))
    PAGE.write_text(
        f"{HEAD}- Date: {datetime.now(UTC):%Y-%m-%d}\n- Commit: `{commit.strip()[:12]}`\n"
        f"- Cases: {count['tests']}; passed {passed}, failed {count['failures'] + count['errors']}, "
        f"skipped {count['skipped']}\n- Time: {float(suite.get('time', '0')) / 60:.0f} minutes\n\n"
        f"| module | cases |\n|---|---|\n{rows}",
        "utf-8",
    )


if __name__ == "__main__":
    if sys.argv[1] == "functions":
        write_known()
    else:
        write_page(Path(sys.argv[2]))
