"""What holds for every test: how a run is divided among processes, its seed, and what a process keeps until its end."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import division, run_seed, timings
from support.platform.kept import KEPT_TO_THE_END

gc.disable()  # until everything is collected: what is imported meanwhile stays
GROUPS = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    run_seed.choose()
    if config.getoption("numprocesses", None):
        number, name = tempfile.mkstemp(prefix="mecapy-groups-")
        os.close(number)
        config.stash[GROUPS] = Path(name)
        config.pluginmanager.register(timings.Told(Path(name), config.rootpath / "build" / "groups.txt"))
    else:
        config.pluginmanager.register(timings.Counted())


def pytest_unconfigure(config: pytest.Config) -> None:
    if GROUPS in config.stash:
        config.stash[GROUPS].unlink(missing_ok=True)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput[division.INPUT] = str(node.config.stash[GROUPS])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> division.GroupScheduling:
    return division.GroupScheduling(config, log, config.stash[GROUPS])


def pytest_report_header() -> str:
    return f"seed of the run: {run_seed.VARIABLE}={run_seed.choose()}"


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    for item in items:
        if division.is_left_to_the_long_run(item):
            item.add_marker(pytest.mark.long)
    result = yield
    division.put_in_order(config, items)
    return result


def pytest_collection_finish() -> None:
    """What collection made lives as long as the run: no collector of garbage need look at it again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)  # after the last fixtures, which still speak with what is kept
def pytest_sessionfinish() -> None:
    KEPT_TO_THE_END.close()
