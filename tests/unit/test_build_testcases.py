"""A version's test cases share the time of one build."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.sandbox.base import Environment
from mecapy_platform.services.build_plan import PlannedFunction
from mecapy_platform.settings import Settings
from mecapy_platform.worker.budget import Budget
from mecapy_platform.worker.judging import Judge
from mecapy_platform.worker.testcases import Bench, run_testcases
from support.checking import plan_of

CASES = {
    "function": "springs:force",
    "test_cases": [{"name": name, "inputs": {}, "expected_outputs": {}} for name in ("a", "b")],
}

JUDGE = Judge(Bounds(seconds=10, memory_bytes=1 << 28))


def test_cases_after_the_time_of_the_build_are_reported_as_not_run(tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text(json.dumps(CASES))
    context: Any = SimpleNamespace(settings=Settings(build_timeout_seconds=0), judge=JUDGE)
    plan = plan_of({"functions": {"force": {"testcases": "cases.json"}}}, PlannedFunction("force"))
    report = run_testcases(Bench(context, plan, tmp_path, Environment(Path("/usr/bin/python3")), {}))
    assert (report["passed"], report["failed"]) == (0, 2)
    assert all("not run" in cast("str", case["differences"][0]) for case in report["cases"])


def test_what_fetching_has_used_of_a_builds_time_is_gone_for_its_test_cases(tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text(json.dumps(CASES))
    context: Any = SimpleNamespace(settings=Settings(build_timeout_seconds=600), judge=JUDGE)
    plan = plan_of({"functions": {"force": {"testcases": "cases.json"}}}, PlannedFunction("force"))
    bench = Bench(context, plan, tmp_path, Environment(Path("/usr/bin/python3")), {}, seconds=0.0)
    assert run_testcases(bench)["failed"] == 2


def test_a_budget_that_is_used_up_is_the_packages_own_fault() -> None:
    budget = Budget.start(0.0)
    with pytest.raises(InvalidInputError, match="in all") as refused:
        budget.at_most(10.0)
    assert refused.value.code == "build_timeout"
    assert Budget.start(100.0).at_most(7.0) == 7.0
