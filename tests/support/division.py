"""How the processes of a run divide its cases: a group of cases runs in one process, which makes what they share once.

The process that gives out the work collects nothing itself, so the first of the others writes down each case's group.
"""

import json
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

MACHINE = "machine"
MEASURED = Path(__file__).parents[1] / "groups.txt"
UNMEASURED_SECONDS = {"e2e": 30.0, "security": 30.0, "integration": 10.0, "unit": 0.3}  # of a group, by its folder
INPUT = "groups"  # where a process of the run finds the name of the file


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives out whole groups, in the order of the cases."""

    def __init__(self, config: pytest.Config, log: Producer, written: Path) -> None:
        super().__init__(config, log)
        self._written = written

    @cached_property
    def _groups(self) -> Mapping[str, str]:
        return written_groups(self._written)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Forgets a group that has ended: each look at what is left goes through all that are remembered."""
        super().mark_test_complete(node, item_index, duration)
        group = self._split_scope(self.registered_collections[node][item_index])
        if all(self.assigned_work[node][group].values()):
            del self.assigned_work[node][group]

    def _split_scope(self, nodeid: str) -> str:
        return self._groups[nodeid]


def put_in_order(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest groups first. The first process of a run writes down each case's group: all collect the same."""
    groups = {item.nodeid: group_of(item, config.rootpath) for item in items}
    items.sort(key=lambda item: rank_of(item, groups[item.nodeid]))  # the order within a group stays
    given = getattr(config, "workerinput", None)
    if given is not None and given["workerid"] == "gw0":
        Path(given[INPUT]).write_text(json.dumps(groups), "utf-8")


def written_groups(written: Path) -> Mapping[str, str]:
    """Each case's group, as the first process wrote it."""
    groups: dict[str, str] = json.loads(written.read_text("utf-8"))
    return groups


def group_of(item: pytest.Item, root: Path) -> str:
    """Of a case: its module, or the backend that several modules share, or all that need much of the machine.

    `machine("beside")` is a second group of these: its cases go one after another too, beside those of the first.
    """
    machine = item.get_closest_marker(MACHINE)
    if machine is not None:
        return " ".join([MACHINE, *machine.args])
    spec = getattr(item, "callspec", None)
    shared = {} if spec is None else {name: scope.value for name, scope in spec._arg2scope.items()}
    kept = [f"{name}{spec.indices[name]}" for name, scope in shared.items() if spec and scope != "function"]
    home = item.path.parent if "session" in shared.values() else item.path
    return " ".join([str(home.relative_to(root)), *kept])


def rank_of(item: pytest.Item, group: str) -> tuple[bool, float]:
    """The long groups go first, so that the short ones fill what is left and all processes end together."""
    guess = next((seconds for name, seconds in UNMEASURED_SECONDS.items() if name in item.path.parts), 0.0)
    return not group.startswith(MACHINE), -seconds_of_groups().get(group, guess)


@cache
def seconds_of_groups() -> Mapping[str, float]:
    """As a whole run measured them and wrote them to build/groups.txt; a copy of that file is kept here."""
    rows = (line.split(maxsplit=1) for line in MEASURED.read_text("utf-8").splitlines())
    return {group: float(seconds) for seconds, group in rows}


def is_left_to_the_long_run(item: pytest.Item) -> bool:
    """Whether a case on a sampled backend lies outside of its module's SAMPLE: parameter -> values that stay."""
    spec, sample = getattr(item, "callspec", None), getattr(getattr(item, "module", None), "SAMPLE", {})
    if spec is None or not any(getattr(value, "is_sampled", False) for value in spec.params.values()):
        return False
    return any(name in spec.params and spec.params[name] not in values for name, values in sample.items())
