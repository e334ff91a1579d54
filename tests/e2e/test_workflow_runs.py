"""A whole platform moves a run of every kind of node on to its end: nobody ticks; eight that do change nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.platform.embedded_process import wait_for
from support.platform.running_platform import Running, archive, deploy, platform
from support.workflows.published import ENDED, MANIFEST, every_kind
from support.workflows.runs import HANDLER


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform() as started:
        yield started


def test_a_run_of_every_kind_of_node_ends_by_itself_and_ticks_change_nothing(running: Running) -> None:
    with running.client() as client:
        package = deploy(client, archive(MANIFEST, {"parts.py": HANDLER}), organization="demo")
        functions = {function["name"]: function["id"] for function in package["functions"]}
        slug = every_kind(client, functions)

        def ended(run_id: str) -> dict[str, Any] | None:
            run: dict[str, Any] = client.get(f"/workflow-runs/{run_id}").json()
            return run if run["status"] in ENDED else None

        def tick(run_id: str) -> int:
            with running.client() as other:
                return max(other.post(f"/workflow-runs/{run_id}/tick").status_code for _ in range(5))

        left_alone = client.post(f"/workflows/{slug}/runs", json={"inputs": {"n": 4}}).json()
        run = wait_for(lambda: ended(left_alone["id"]), "the run has ended", 60)
        assert (run["status"], run["terminal_outputs"]) == ("completed", {"last": {"sum": 27.0}}), run
        assert {state["status"] for state in run["node_states"].values()} == {"success"}
        assert run["node_states"].keys() == {"split", "last"}

        ticked = client.post(f"/workflows/{slug}/runs", json={"inputs": {"n": 4}}).json()
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(tick, [ticked["id"]] * 8)) == {200}
        run = wait_for(lambda: ended(ticked["id"]), "the ticked run has ended", 60)
        assert (run["status"], run["terminal_outputs"]) == ("completed", {"last": {"sum": 27.0}}), run


def test_a_failing_node_ends_its_run_with_its_message(running: Running) -> None:
    with running.client() as client:
        made = client.post("/workflows/every-kind/runs", json={"inputs": {"n": -1}}).json()

        def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = client.get(f"/workflow-runs/{made['id']}").json()
            return run if run["status"] in ENDED else None

        run = wait_for(ended, "the run has ended", 60)
        assert (run["status"], run["first_failed_node_key"]) == ("failed", "split")
        assert "less than nothing" in run["error_message"]
        assert run["node_states"]["last"]["status"] == "cancelled"
