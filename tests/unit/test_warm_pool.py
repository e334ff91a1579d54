"""Which warm sandbox makes room for another."""

import pytest

from mecapy_platform.sandbox.bubblewrap.zygote import Key
from mecapy_platform.sandbox.eviction import PUSH_OUT_SECONDS, Held, choose_victim

NOW = 1000.0


def held(organization: str, name: str, *, idle_seconds: float, is_busy: bool = False) -> Held[Key]:
    return Held(Key(organization, "python", name, ()), organization, NOW - idle_seconds, is_busy)


def victim(organization: str, *kept: Held[Key]) -> str | None:
    chosen = choose_victim(kept, organization, NOW)
    return None if chosen is None else f"{chosen.organization}/{chosen.site_packages}"


def test_the_least_recently_used_one_of_who_has_most_goes() -> None:
    kept = [held("many", name, idle_seconds=age) for name, age in (("a", 1), ("b", 9), ("c", 5))]
    assert victim("newcomer", *kept, held("few", "d", idle_seconds=20)) == "many/b"


def test_one_with_many_functions_cannot_push_out_the_last_one_of_another() -> None:
    kept = [held("many", name, idle_seconds=1) for name in "abc"]
    assert victim("many", *kept, held("few", "d", idle_seconds=PUSH_OUT_SECONDS - 1)) in {"many/a", "many/b", "many/c"}


def test_asking_for_another_costs_oneself_before_one_who_has_as_many() -> None:
    kept = [
        held("one", "a", idle_seconds=1),
        held("one", "b", idle_seconds=2),
        held("two", "c", idle_seconds=8),
        held("two", "d", idle_seconds=9),
    ]
    assert victim("one", *kept) == "one/b"


def test_when_all_have_just_one_only_a_long_idle_one_goes() -> None:
    kept = [held("one", "a", idle_seconds=5), held("two", "b", idle_seconds=PUSH_OUT_SECONDS - 1)]
    assert victim("three", *kept) is None
    assert victim("three", *kept, held("four", "c", idle_seconds=PUSH_OUT_SECONDS + 1)) == "four/c"


@pytest.mark.parametrize("organization", ["one", "two"])
def test_a_busy_one_stays(organization: str) -> None:
    kept = [held("one", name, idle_seconds=500, is_busy=True) for name in "ab"]
    assert victim(organization, *kept) is None
