"""What holds for every test: how a run is divided among processes, its seed, and what a process keeps until its end."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import run_seed
from support.platform.services import KEPT_TO_THE_END

MACHINE = "machine"
LONGEST_FIRST = ("e2e", "security", "integration", "unit")


def pytest_configure() -> None:
    run_seed.choose()


def pytest_report_header() -> str:
    return f"seed of the run: {run_seed.VARIABLE}={run_seed.choose()}"


def pytest_collection_finish() -> None:
    """What collection made lives as long as the run: no collector of garbage need look at it again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    KEPT_TO_THE_END.close()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Give each case its group: a group runs in one process, which makes what its cases share once.

    The long groups go first, so that the short ones fill what is left.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
        if is_left_to_the_long_run(item):
            item.add_marker(pytest.mark.long)
    result = yield
    items.sort(key=_rank)  # the order within a group stays
    return result


def group_of(item: pytest.Item) -> str:
    """Of a case: its module, or the backend that several modules share, or all that need the machine to themselves."""
    if item.get_closest_marker(MACHINE) is not None:
        return MACHINE
    spec = getattr(item, "callspec", None)
    shared = {} if spec is None else {name: scope.value for name, scope in spec._arg2scope.items()}
    kept = [f"{name}{spec.indices[name]}" for name, scope in shared.items() if spec and scope != "function"]
    home = item.path.parent if "session" in shared.values() else item.path
    return " ".join([str(home.relative_to(Path(__file__).parent)), *kept])


def is_left_to_the_long_run(item: pytest.Item) -> bool:
    """Whether a case on a sampled backend lies outside of its module's SAMPLE: parameter -> values that stay."""
    spec, sample = getattr(item, "callspec", None), getattr(getattr(item, "module", None), "SAMPLE", {})
    if spec is None or not any(getattr(value, "is_sampled", False) for value in spec.params.values()):
        return False
    return any(name in spec.params and spec.params[name] not in values for name, values in sample.items())


def _rank(item: pytest.Item) -> tuple[bool, int]:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return item.get_closest_marker(MACHINE) is None, LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else 0
