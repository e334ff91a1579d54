"""Runs over real PostgreSQL: each kind of node from its start to its end, with no worker; the test ends tasks itself."""

from collections.abc import Iterator
from typing import Any

import pytest

from mecapy_platform.core.errors import ConflictError, InvalidInputError
from mecapy_platform.core.states import TaskState
from mecapy_platform.services.runs.inputs import MissingInputsError
from support.workflows.runs import Bench, add, bench, given


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("runs")) as found:
        yield found


def test_a_run_goes_on_by_itself_to_its_end(made: Bench) -> None:
    nodes = [given("x"), given("y"), made.function("first"), made.function("second")]
    edges = ["x.value > first.a", "y.value > first.b", "first.sum > second.a", "y.value > second.b"]
    run_id = made.submit(made.version(nodes, edges), {"x": 1.5, "y": 2})
    assert made.run(run_id).state == "running"
    assert list(made.tasks(run_id)) == ["first"]
    assert made.tasks(run_id)["first"].inputs == {"a": 1.5, "b": 2}
    assert made.serve(run_id, add) == 2
    run = made.run(run_id)
    assert (run.state, run.error_message) == ("completed", None)
    assert made.states(run_id) == {"first": "completed", "second": "completed"}
    assert made.tasks(run_id, "completed")["second"].inputs == {"a": 3.5, "b": 2}
    assert made.marks(run_id) == 0
