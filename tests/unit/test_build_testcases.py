"""A version's test cases share the time of one build."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mecapy_platform.sandbox.base import Environment
from mecapy_platform.settings import Settings
from mecapy_platform.worker.testcases import Bench, run_testcases

CASES = {
    "function": "springs:force",
    "test_cases": [{"name": name, "inputs": {}, "expected_outputs": {}} for name in ("a", "b")],
}


def test_cases_after_the_time_of_the_build_are_reported_as_not_run(tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text(json.dumps(CASES))
    context: Any = SimpleNamespace(settings=Settings(build_timeout_seconds=0))
    version = SimpleNamespace(manifest={"functions": {"force": {"testcases": "cases.json"}}})
    build: Any = SimpleNamespace(functions=[SimpleNamespace(name="force")], version=version)
    report = run_testcases(Bench(context, build, tmp_path, Environment(Path("/usr/bin/python3")), {}))
    assert (report["passed"], report["failed"]) == (0, 2)
    assert all("not run" in cast("str", case["differences"][0]) for case in report["cases"])
