"""Where a task may run, and how it is said when it may not."""

from collections.abc import Sequence

import pytest

from mecapy_platform.core.placement import Misfit, Needs, Place, abilities_of, misfit, misfit_everywhere

SMALL = Place(2, 4096, frozenset({"python3.11"}))
LARGE = Place(16, 65536, frozenset({"python3.11", "python3.12", "ccx", "image"}))


def needs(*abilities: str, cpu: float = 1, memory_mb: int = 512) -> Needs:
    return Needs(cpu, memory_mb, frozenset(abilities))


def code(found: Misfit | None) -> str | None:
    return None if found is None else found.code


@pytest.mark.parametrize(
    ("wanted", "place", "expected"),
    [
        (needs(), SMALL, None),
        (needs("python3.11", cpu=2, memory_mb=4096), SMALL, None),
        (needs("ccx"), SMALL, "tool_missing"),
        (needs("python3.12"), SMALL, "interpreter_missing"),
        (needs("image"), SMALL, "images_unsupported"),
        (needs("ccx", "image"), SMALL, "tool_missing"),
        (needs(cpu=3), SMALL, "never_fits"),
        (needs(memory_mb=4097), SMALL, "never_fits"),
        (needs("ccx", "python3.12", "image", cpu=16, memory_mb=65536), LARGE, None),
    ],
)
def test_one_rule_says_what_a_place_may_not_run(wanted: Needs, place: Place, expected: str | None) -> None:
    assert code(misfit(wanted, place)) == expected


@pytest.mark.parametrize(
    ("wanted", "places", "expected"),
    [
        (needs("ccx"), [], None),  # nobody is known: it waits
        (needs("ccx"), [SMALL, LARGE], None),
        (needs("ccx"), [SMALL], "tool_missing"),
        (needs("ccx", "gmsh"), [LARGE, Place(1, 512, frozenset({"gmsh"}))], "tool_missing"),
        (needs(cpu=8), [SMALL, LARGE], None),
        (needs(cpu=32), [SMALL, LARGE], "never_fits"),
        (needs("ccx", cpu=8), [Place(2, 1024, frozenset({"ccx"})), Place(64, 1 << 20)], "never_fits"),
    ],
)
def test_a_task_is_refused_only_when_no_worker_can_ever_run_it(
    wanted: Needs, places: Sequence[Place], expected: str | None
) -> None:
    assert code(misfit_everywhere(wanted, places)) == expected


def test_a_refusal_of_the_moment_is_no_misfit() -> None:
    assert misfit(needs(), Place(2, 4096, refusal="The spawner is away.")) is None


def test_the_sentence_names_what_is_missing_and_what_there_is() -> None:
    found = misfit_everywhere(needs("ccx", "gmsh"), [SMALL, Place(4, 8192, frozenset({"gmsh", "python3.12"}))])
    assert found == Misfit("tool_missing", "It needs ccx, which no worker has (tools of the workers: gmsh).")
    together = misfit_everywhere(
        needs("a", "b", "python3.11"), [Place(1, 1, frozenset({"a"})), Place(1, 1, frozenset({"b"}))]
    )
    assert together is not None
    assert "a together with b" in together.message


@pytest.mark.parametrize(
    ("options", "runtime", "is_image", "expected"),
    [
        ({}, "3.11", False, {"python3.11"}),
        ({"needs": ["ccx"]}, "3.12.4", False, {"ccx", "python3.12"}),
        ({"needs": ["docker"]}, "dockerfile", True, {"image"}),  # as an earlier version stored it
        ({"needs": ["ccx"]}, None, True, {"ccx", "image"}),
    ],
)
def test_the_needs_of_a_function(
    options: dict[str, Sequence[str]], runtime: str | None, is_image: bool, expected: set[str]
) -> None:
    assert abilities_of(options, runtime=runtime, is_image=is_image) == expected
