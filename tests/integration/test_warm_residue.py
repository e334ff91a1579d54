"""What a call could find of the one before it in the processes of its slot: results, names, sockets, counters."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from integration.sandbox_contract import Bench, bench_for, follow
from support.backends.warm_alone import KINDS, WarmAlone, warm_alone


@pytest.fixture(scope="module", params=KINDS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[WarmAlone]:
    with warm_alone(request.param) as made:
        yield made


@pytest.fixture
def bench(sandbox: WarmAlone) -> Iterator[Bench]:
    with bench_for(sandbox) as made:
        yield made


def call(bench: Bench, function: str, inputs: Mapping[str, object] | None = None) -> Any:
    spec = replace(bench.spec(function, inputs), handler=f"residue:{function}")
    with bench.sandbox.start(spec) as run:
        return follow(run).result


@pytest.mark.parametrize("leaves", ["leaves_result", "leaves_names"])
def test_memory_of_the_next_call_holds_nothing_of_a_result_or_a_name(bench: Bench, leaves: str) -> None:
    halves = [secrets.token_hex(8), secrets.token_hex(8)]
    for _ in range(2):
        call(bench, leaves, {"mark": "".join(halves)})
    looked = call(bench, "searches_memory", {"halves": halves})
    assert looked["searched"] > 1 << 20
    assert looked["found"] == 0


@pytest.mark.parametrize("kind", ["tcp", "udp", "no route"])
def test_a_call_that_opened_an_internet_socket_leaves_its_network_to_nobody(bench: Bench, kind: str) -> None:
    untouched = call(bench, "looks_at_network")
    used = call(bench, "uses_sockets", {"kind": kind})
    looked = call(bench, "looks_at_network")
    assert looked["space"] != used["space"]
    assert {name: looked[name] for name in looked if name != "space"} == {
        name: untouched[name] for name in untouched if name != "space"
    }


def test_a_call_without_one_costs_the_slot_no_new_network(bench: Bench) -> None:
    spaces = {call(bench, "uses_sockets", {"kind": "none"})["space"] for _ in range(12)}
    assert len(spaces) <= 3, "one for each slot that served"


def test_no_command_line_tells_of_the_zygote(bench: Bench) -> None:
    told = call(bench, "command_lines")
    words = [*told["lines"].values(), *told["arguments"]]
    assert set(told["lines"]) == {"1", "2"}
    assert not [word for word in words if any(name in word for name in ("zygote", "filter", "libraries", "guest"))]
