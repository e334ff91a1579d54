"""Calls that share a worker, on the real sandbox: each is a fork of their module and knows nothing of the others."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox_contract import LIMITS, PACKAGE
from mecapy_platform.sandbox.base import (
    Collected,
    EndReason,
    Environment,
    SandboxSpec,
    SharedCall,
    SharedEnd,
    SharedRun,
    StopReason,
    Tick,
)
from support.backends.warm_alone import WarmAlone, warm_alone

FIND, TRIES, DRAW = "shared_calls:find", "shared_calls:tries", "shared_calls:draw"
HANDLERS = (FIND, TRIES, DRAW)
TAKEN = ("shared_takeover:says_it_began", "shared_takeover:freezes", "shared_takeover:closes")
MOST_TICKS = 200  # of a quarter of a second, while a call goes on
Asked = tuple[str, Mapping[str, object]]


@dataclass
class Ends:
    """What became of calls: their ends and what was collected, by number; `workers`: how many they shared."""

    ends: dict[int, SharedEnd] = field(default_factory=dict)
    collected: dict[int, Collected] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    workers: int = 0

    def result(self, number: int) -> Any:
        told = self.collected[number]
        assert told.result is not None, (self.ends[number], told)
        return json.loads(told.result)

    def log(self, number: int) -> str:
        return "".join(chunk.text for chunk in self.ends[number].log if chunk.stream == "stdout")

    def take(self, end: SharedEnd) -> None:
        assert end.number not in self.ends, "each has one end"
        self.ends[end.number] = end
        self.collected[end.number] = found = end.outputs.collect()
        for file in found.files:
            with end.outputs.open_output(file) as source:
                self.contents[file.name] = source.read()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[WarmAlone]:
    with warm_alone("native") as made:
        yield made


def spec_of(folder: Path, **changes: Any) -> SandboxSpec:
    limits = replace(LIMITS, timeout_seconds=20, **changes.pop("limits", {}))
    environment = Environment(Path(sys.executable).resolve())
    usual = SandboxSpec(
        "task", 1, PACKAGE, folder, limits, environment, FIND, organization="first", is_warm=True, version="first"
    )
    return replace(usual, **changes)


def shared(sandbox: WarmAlone, handlers: Sequence[str] = HANDLERS, **changes: Any) -> SharedRun:
    spec = spec_of(Path(tempfile.gettempdir()), **changes)
    assert sandbox.inner.warm is not None
    made = sandbox.inner.share(spec, handlers)
    assert made is not None
    return made


def serve(
    sandbox: WarmAlone,
    asked: Sequence[Asked],
    *,
    timeout_seconds: float = 20,
    is_cancelled: Callable[[int], bool] = lambda _number: False,
    **changes: Any,
) -> Ends:
    """To the last of them, in as many workers as it takes; those that are doubtful have no other end here."""
    told = Ends()
    left = [
        SharedCall(number, handler, json.dumps(inputs), timeout_seconds)
        for number, (handler, inputs) in enumerate(asked)
    ]
    while left:
        told.workers += 1
        assert told.workers <= len(asked) + 1
        with shared(sandbox, **changes) as run:
            for end in run.run(left, is_cancelled):
                if isinstance(end, SharedEnd):
                    told.take(end)
        left = [call for call in left if call.number not in told.ends]
    return told


def between(what: str) -> list[Asked]:
    return [(FIND, {"value": 0}), (TRIES, {"what": what, "value": 1}), (FIND, {"value": 2}), (FIND, {"value": 3})]


def test_calls_share_a_worker_and_each_has_its_own_end_log_and_usage(sandbox: WarmAlone) -> None:
    told = serve(sandbox, [(FIND, {"value": value}) for value in range(300)])
    assert told.workers == 1
    assert [told.result(number)["value"] for number in range(300)] == list(range(300))
    assert [told.log(number) for number in range(300)] == [f"call {value}\n" for value in range(300)]
    for end in told.ends.values():
        assert (end.ended.reason, end.ended.exit_code) == (EndReason.EXITED, 0)
        assert end.ended.usage.wall_seconds > 0
        assert end.ended.usage.cpu_seconds
        assert end.ended.usage.peak_memory_mb


@pytest.mark.parametrize(
    "what",
    [
        "files", "settings", "processes", "siblings_of_its_parent", "signals", "memory_of_others", "words",
        "inputs_of_the_next", "raises", "exits", "crash", "floods",
    ],
)  # fmt: skip
def test_a_call_finds_nothing_of_those_before_it_whatever_they_did(sandbox: WarmAlone, what: str) -> None:
    told = serve(sandbox, between(what))
    first = told.result(0)["seen"]
    assert first["count"] == 1
    assert (first["processes"], first["parent"], first["table"]) == ([], 0, True)
    assert [told.result(number)["seen"] for number in (2, 3)] == [first, first]
    assert [told.result(number)["value"] for number in (2, 3)] == [2, 3], "nobody else's result"
    assert [told.log(number) for number in (2, 3)] == ["call 2\n", "call 3\n"]
    assert told.workers == 1, "and the worker goes on"


@pytest.mark.parametrize("what", ["signals", "memory_of_others", "words", "inputs_of_the_next"])
def test_nothing_of_others_is_reached(sandbox: WarmAlone, what: str) -> None:
    told = serve(sandbox, between(what))
    found = told.result(1)["told"]
    assert found in ([], ["-1"]), found  # a signal to all that there is meets nobody


@pytest.mark.parametrize("what", ["object_of_the_kernel", "network", "output", "large"])
def test_a_call_after_which_something_stays_is_the_last_of_its_worker(sandbox: WarmAlone, what: str) -> None:
    told = serve(sandbox, between(what))
    assert told.workers == 2
    assert told.result(1)["value"] == 1
    assert told.result(3)["seen"] == told.result(0)["seen"]
    assert told.contents == ({"kept.txt": b"kept"} if what == "output" else {})


@pytest.mark.parametrize(
    ("what", "error"), [("raises", "no\N{SNOWMAN}"), ("exits", None), ("crash", None)]
)  # fmt: skip
def test_a_call_that_fails_takes_no_other_with_it(sandbox: WarmAlone, what: str, error: str | None) -> None:
    told = serve(sandbox, between(what))
    ended, collected = told.ends[1].ended, told.collected[1]
    assert (ended.exit_code, ended.signal) == {"raises": (1, None), "exits": (3, None), "crash": (None, 11)}[what]
    assert (collected.error or {}).get("error") == error
    assert told.workers == 1


@pytest.mark.parametrize("what", ["sleep", "ignores_a_stop"])
def test_a_call_that_takes_too_long_is_stopped_alone(sandbox: WarmAlone, what: str) -> None:
    told = serve(sandbox, between(what), timeout_seconds=1.0)
    assert told.ends[1].ended.reason is EndReason.TIMEOUT
    assert told.ends[1].ended.stop is StopReason.TIMEOUT
    assert told.result(2)["value"] == 2
    assert told.workers == 1


def test_where_memory_ends_the_call_that_grew_is_in_doubt_and_no_other(sandbox: WarmAlone) -> None:
    told = serve(sandbox, between("memory"))
    assert [number for number, end in told.ends.items() if end.is_doubtful] == [1]
    assert [told.result(number)["value"] for number in (0, 2, 3)] == [0, 2, 3]
    assert told.workers == 2


def test_a_cancelled_call_is_killed_alone_and_one_that_has_not_begun_never_begins(sandbox: WarmAlone) -> None:
    told = serve(sandbox, between("sleep"), is_cancelled=lambda number: number in {1, 3})
    assert [told.ends[number].ended.stop for number in (1, 3)] == [StopReason.CANCELLED] * 2
    assert [told.result(number)["value"] for number in (0, 2)] == [0, 2]


def test_a_stop_ends_the_call_that_runs_and_begins_no_other(sandbox: WarmAlone) -> None:
    asked = [SharedCall(number, TRIES, '{"what": "sleep"}', 20) for number in range(3)]
    with shared(sandbox) as run:
        ends = []
        for end in run.run(asked, lambda _number: False):
            run.stop(StopReason.DRAIN)
            if isinstance(end, SharedEnd):
                ends.append(end)
    assert [end.ended.stop for end in ends] in ([StopReason.DRAIN], [])


def test_random_numbers_differ_from_call_to_call(sandbox: WarmAlone) -> None:
    told = serve(sandbox, [(DRAW, {})] * 50)
    assert len({told.result(number)["drawn"] for number in range(50)}) == 50
    assert len({told.result(number)["before"] for number in range(50)}) == 1, "they share their module"


def test_a_module_that_cannot_be_loaded_or_starts_threads_is_not_shared(sandbox: WarmAlone, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, code in (
        ("broken", "raise ValueError\n"),
        ("threads", "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"),
    ):
        (tmp_path / f"{name}.py").write_text(code + "\n\ndef f():\n    return {}\n")
        (tmp_path / f"{name}.py").chmod(0o644)
        assert sandbox.inner.share(spec_of(tmp_path, package=tmp_path), [f"{name}:f"]) is None
    assert serve(sandbox, [(FIND, {})]).workers == 1


def test_with_reuse_calls_follow_each_other_in_the_module_itself(sandbox: WarmAlone) -> None:
    told = serve(sandbox, [(FIND, {"value": value}) for value in range(8)], reuse=5)
    assert [told.result(number)["seen"]["count"] for number in range(8)] == [1, 2, 3, 4, 5, 1, 2, 3]
    assert [told.log(number) for number in range(8)] == [f"call {value}\n" for value in range(8)]
    assert told.workers == 2


def test_with_reuse_a_call_that_fails_is_the_last_of_its_process(sandbox: WarmAlone) -> None:
    told = serve(sandbox, between("raises"), reuse=100)
    assert (told.collected[1].error or {})["error"] == "no\N{SNOWMAN}"
    assert [told.result(number)["seen"]["count"] for number in (0, 2, 3)] == [1, 1, 2]


def test_a_worker_that_is_closed_leaves_a_slot_for_other_calls(sandbox: WarmAlone) -> None:
    with shared(sandbox) as run:
        next(iter(run.run([SharedCall(0, TRIES, '{"what": "sleep"}', 20)], lambda _number: False)))
    assert serve(sandbox, [(FIND, {"value": 1})]).result(0)["value"] == 1


@pytest.mark.parametrize(("way", "reuse"), [(0, 0), (1, 0), (2, 5)])
def test_a_module_that_takes_our_place_in_the_worker_does_not_hold_its_slot(
    sandbox: WarmAlone, way: int, reuse: int
) -> None:
    asked = [SharedCall(number, TAKEN[way], "{}", 1.0) for number in range(2)]
    told, ticks = list[SharedEnd](), 0
    with shared(sandbox, TAKEN, reuse=reuse) as run:
        for end in run.run(asked, lambda _number: False):
            ticks += isinstance(end, Tick)
            told += [end] if isinstance(end, SharedEnd) else []
            assert ticks < MOST_TICKS, "its time limit is a second"
    assert {end.ended.reason for end in told} == (set() if way == 0 else {EndReason.TIMEOUT}), "no call began"
    assert serve(sandbox, [(FIND, {"value": 1})]).result(0)["value"] == 1
