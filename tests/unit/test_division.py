"""How the processes of a test run divide its cases, and what a run samples."""

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support import division, run_seed

ROOT = Path("/repository")


@dataclass(frozen=True)
class Backend:
    is_sampled: bool


def item(path: str, *, scopes: dict[str, str] | None = None, marks: tuple[str, ...] = (), **params: Any) -> Any:
    """What the rules look at of a case."""
    scope = {name: SimpleNamespace(value=value) for name, value in (scopes or {}).items()}
    spec = SimpleNamespace(params=params, indices=dict.fromkeys(params, 1), _arg2scope=scope)
    return SimpleNamespace(
        path=ROOT / path,
        nodeid=f"{path}::test_x",
        callspec=spec,
        module=SimpleNamespace(SAMPLE={"case": ["kept"]}),
        get_closest_marker=lambda name: SimpleNamespace(args=marks[1:]) if name in marks else None,
    )


def rank(case: Any) -> tuple[bool, float]:
    return division.rank_of(case, division.group_of(case, ROOT))


def measured() -> list[str]:
    """Groups that are a module, as they stand in the file."""
    return [name for name in division.seconds_of_groups() if name.endswith(".py")]


def test_cases_of_a_module_stay_together_and_those_of_another_do_not() -> None:
    one, other = (division.group_of(item(f"tests/integration/test_{name}.py"), ROOT) for name in "ab")
    assert (one, other) == ("tests/integration/test_a.py", "tests/integration/test_b.py")


def test_cases_of_one_backend_stay_together_across_modules() -> None:
    groups = {
        division.group_of(item(f"tests/security/test_{name}.py", scopes={"backend": "session"}, backend=0), ROOT)
        for name in "ab"
    }
    assert groups == {"tests/security backend1"}


def test_cases_that_need_the_machine_to_themselves_are_one_group_and_go_first() -> None:
    full, faults = (item(f"tests/e2e/test_{name}.py", marks=("machine",)) for name in ("full", "faults"))
    assert {division.group_of(full, ROOT), division.group_of(faults, ROOT)} == {"machine"}
    assert rank(full) < min(rank(item(name)) for name in measured())


def test_a_second_group_of_these_runs_beside_the_first() -> None:
    beside = item("tests/e2e/test_faults_docker.py", marks=("machine", "beside"))
    assert division.group_of(beside, ROOT) == "machine beside"
    assert rank(beside) < min(rank(item(name)) for name in measured())


def test_the_longest_groups_go_first_and_a_new_one_before_the_short_ones() -> None:
    ranks = [rank(item(name)) for name in measured()]
    assert ranks == sorted(ranks)
    assert ranks[0] < rank(item("tests/e2e/test_new.py")) < rank(item("tests/integration/test_new.py"))
    assert rank(item("tests/integration/test_new.py")) < rank(item("tests/unit/test_new.py"))


def test_a_sampled_backend_leaves_to_the_long_run_what_is_not_in_the_sample() -> None:
    def is_left(backend: Backend, case: str) -> bool:
        return division.is_left_to_the_long_run(item("tests/e2e/test_x.py", backend=backend, case=case))

    sampled, whole = Backend(is_sampled=True), Backend(is_sampled=False)
    assert [is_left(sampled, "kept"), is_left(sampled, "other"), is_left(whole, "other")] == [False, True, False]


def test_the_seed_of_a_run_tells_all_its_seeds() -> None:
    code = "from support.run_seed import seeds; print(seeds(3), seeds(30)[:3])"
    tests = Path(run_seed.__file__).parents[1]
    seed = str(random.randrange(1000))
    environment = {**os.environ, run_seed.VARIABLE: seed, "PYTHONPATH": str(tests)}
    said = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said[0] == said[1]
    few, first = said[0].strip().split("] [")
    assert few.strip("[") == first.strip("]")
