"""Shares, order and room: which tasks go next."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mecapy_platform.core.placement import Place
from mecapy_platform.core.quotas import PATIENCE_SECONDS, Candidate, Room, Share, pick

A, B = UUID(int=1), UUID(int=2)


def tasks(count: int, *, first: int = 100, cpu: float = 1, memory_mb: int = 100, waited: float = 0) -> list[Candidate]:
    return [Candidate(UUID(int=first + number), cpu, memory_mb, waited) for number in range(count)]


def share(weight: float = 1, passed: float = 0, may_start: int = 1000) -> Share:
    return Share(weight, passed, may_start)


def test_a_flood_of_one_organization_leaves_every_second_turn_to_the_other() -> None:
    queues = {A: tasks(100), B: tasks(3, first=900)}
    picked = pick(queues, {A: share(), B: share()}, Room(100, 10_000, 6), virtual_time=0, is_strict=True)
    assert sum(1 for task_id in picked.task_ids if task_id.int >= 900) == 3


def test_weights_divide_the_turns() -> None:
    queues = {A: tasks(100), B: tasks(100, first=900)}
    picked = pick(queues, {A: share(weight=3), B: share()}, Room(1000, 100_000, 40), virtual_time=0, is_strict=True)
    assert sum(1 for task_id in picked.task_ids if task_id.int < 900) == 30


def test_an_idle_organization_has_not_saved_up_turns() -> None:
    queues = {A: tasks(50), B: tasks(50, first=900)}
    picked = pick(
        queues, {A: share(passed=1000), B: share(passed=0)}, Room(1000, 100_000, 20), virtual_time=1000, is_strict=True
    )
    assert 9 <= sum(1 for task_id in picked.task_ids if task_id.int >= 900) <= 11


def test_strict_order_is_not_overtaken_by_a_smaller_task() -> None:
    queue = [*tasks(1, memory_mb=5000), *tasks(3, first=200)]
    assert pick({A: queue}, {A: share()}, Room(100, 1000, 10), virtual_time=0, is_strict=True).task_ids == ()


def test_a_smaller_task_may_overtake_where_order_is_not_strict() -> None:
    queue = [*tasks(1, memory_mb=5000), *tasks(3, first=200)]
    picked = pick({A: queue}, {A: share()}, Room(100, 1000, 10), virtual_time=0, is_strict=False)
    assert [task_id.int for task_id in picked.task_ids] == [200, 201, 202]


def test_a_large_task_that_has_waited_long_gets_room_kept_for_it() -> None:
    queues = {A: tasks(1, memory_mb=5000, waited=PATIENCE_SECONDS + 1), B: tasks(5, first=900)}
    picked = pick(queues, {A: share(), B: share(passed=1)}, Room(100, 1000, 10), virtual_time=0, is_strict=False)
    assert picked.task_ids == ()


@pytest.mark.parametrize("is_strict", [True, False])
@pytest.mark.parametrize("waited", [0.0, PATIENCE_SECONDS + 1])
def test_a_head_that_can_never_run_here_holds_nobody_up(is_strict: bool, waited: float) -> None:
    """Too large for the whole node, or in need of a tool it lacks: whoever is behind it goes."""
    place = Place(8, 8000, frozenset({"python3.11"}))
    for misfits in (tasks(2, cpu=16, waited=waited), [Candidate(UUID(int=100), 1, 100, waited, frozenset({"ccx"}))]):
        queues = {A: [*misfits, *tasks(2, first=200)], B: tasks(2, first=900)}
        picked = pick(
            queues,
            {A: share(), B: share(passed=1)},
            Room(8, 8000, 10),
            virtual_time=0,
            is_strict=is_strict,
            place=place,
        )
        assert sorted(task_id.int for task_id in picked.task_ids) == [200, 201, 900, 901]
        assert picked.kept_for is None


def test_one_node_keeps_room_for_a_large_task_and_the_others_go_on() -> None:
    queues = {A: tasks(1, cpu=16, waited=PATIENCE_SECONDS + 1), B: tasks(3, first=900)}
    shares, room, place = {A: share(), B: share(passed=1)}, Room(8, 8000, 10), Place(16, 8000)
    first = pick(queues, shares, room, virtual_time=0, is_strict=False, place=place)
    large = UUID(int=100)
    assert (first.task_ids, first.kept_for) == ((), large)
    second = pick(queues, shares, room, virtual_time=0, is_strict=False, place=place, kept_elsewhere={large})
    assert ([task_id.int for task_id in second.task_ids], second.kept_for) == ([900, 901, 902], None)


def test_an_organization_at_its_quota_does_not_hold_up_the_other() -> None:
    queues = {A: tasks(5), B: tasks(5, first=900)}
    picked = pick(
        queues, {A: share(may_start=0), B: share(passed=50)}, Room(100, 10_000, 10), virtual_time=0, is_strict=True
    )
    assert [task_id.int for task_id in picked.task_ids] == [900, 901, 902, 903, 904]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4000)), max_size=40),
    cpu=st.floats(0, 8),
    memory_mb=st.integers(0, 8000),
    slots=st.integers(0, 20),
    is_strict=st.booleans(),
)
def test_what_is_picked_always_fits(
    sizes: list[tuple[int, int]], cpu: float, memory_mb: int, slots: int, is_strict: bool
) -> None:
    candidates = [Candidate(UUID(int=number), size[0], size[1], 0) for number, size in enumerate(sizes)]
    queues = {A: candidates[::2], B: candidates[1::2]}
    picked = pick(
        queues, {A: share(), B: share(weight=2)}, Room(cpu, memory_mb, slots), virtual_time=0, is_strict=is_strict
    )
    chosen = [candidates[task_id.int] for task_id in picked.task_ids]
    assert len(set(picked.task_ids)) == len(chosen) <= slots
    assert sum(item.cpu for item in chosen) <= cpu
    assert sum(item.memory_mb for item in chosen) <= memory_mb


def packs(count: int, *, first: int, cost: float = 1.0) -> list[Candidate]:
    return [Candidate(UUID(int=first + number), 1, 100, 0, share_cost=cost, is_pack=True) for number in range(count)]


def test_what_carries_calls_takes_only_the_slots_that_it_may() -> None:
    queue = [*packs(3, first=100), *tasks(1, first=200), *packs(3, first=300)]
    picked = pick({A: queue}, {A: share()}, Room(100, 10_000, 4, packs=2), virtual_time=0, is_strict=False)
    assert [task_id.int for task_id in picked.task_ids] == [100, 101, 200]
    none = pick({A: packs(3, first=100)}, {A: share()}, Room(100, 10_000, 4), virtual_time=0, is_strict=False)
    assert none.task_ids == ()


def test_what_carries_much_work_counts_as_much() -> None:
    queues = {A: packs(100, first=100, cost=4), B: tasks(100, first=900)}
    picked = pick(queues, {A: share(), B: share()}, Room(100, 100_000, 20, packs=20), virtual_time=0, is_strict=False)
    assert sum(1 for task_id in picked.task_ids if task_id.int < 900) == 4
