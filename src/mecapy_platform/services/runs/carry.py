"""Calls that are ready get their carriers: which go together in a task is decided here, for runs and studies alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.ids import new_id
from mecapy_platform.core.retries import Policy
from mecapy_platform.core.states import FailureKind
from mecapy_platform.core.workflows.graph import RetryRule
from mecapy_platform.services.runs.loading import LoadedFunction
from mecapy_platform.services.tasks.requests import TaskRequest
from mecapy_platform.services.tasks.submit import columns_of
from mecapy_platform.services.values import ValueStore

OF_TASKS = frozenset({FailureKind.USER_ERROR, FailureKind.TIMEOUT, FailureKind.OUT_OF_MEMORY})


@dataclass(frozen=True)
class Whose:
    """The user of a run or study, for whom its tasks are made."""

    user_id: UUID


@dataclass(frozen=True)
class ReadyCall:
    """A call of a function whose inputs are there. `retry`: of the task itself, where the node does not see to it."""

    id: UUID
    user_id: UUID
    loaded: LoadedFunction
    inputs: Mapping[str, Any]
    files: Mapping[str, Any]
    name: str
    priority: int = 5
    timeout_seconds: float | None = None
    retry: RetryRule | None = None
    run_id: UUID | None = None
    node_id: UUID | None = None
    study_id: UUID | None = None
    point: int | None = None


@dataclass
class Carried:
    """Tasks with their columns; which task carries a call, and at which place among several; what was refused."""

    tasks: list[tuple[UUID, Mapping[str, Any]]] = field(default_factory=list)
    carriers: list[dict[str, Any]] = field(default_factory=list)
    refused: list[tuple[UUID, MecapyError]] = field(default_factory=list)


def carry(calls: Sequence[ReadyCall], values: ValueStore) -> Carried:
    """One task for each call. Their inputs are checked as those of any task; what does not fit is refused."""
    carried = Carried()
    for call in calls:
        try:
            columns = _columns(call, values)
        except MecapyError as error:
            carried.refused.append((call.id, error))
            continue
        task_id = new_id()
        carried.tasks.append((task_id, columns))
        carried.carriers.append({"id": call.id, "task_id": task_id})
    carried.tasks.sort(key=lambda task: str(task[1]["function_id"]))  # those of a function go in one statement
    return carried


def _columns(call: ReadyCall, values: ValueStore) -> dict[str, Any]:
    function, version, package = call.loaded.function, call.loaded.version, call.loaded.package
    timeout_seconds = None
    if call.timeout_seconds is not None:
        timeout_seconds = min(call.timeout_seconds, function.timeout_seconds)
    request = TaskRequest(
        function.name,
        inputs=call.inputs,
        priority=call.priority,
        timeout_seconds=timeout_seconds,
        name=call.name,
    )
    columns = columns_of(Whose(call.user_id), request, (function, version, package), dict(call.files))
    if call.retry is not None and call.retry.max:
        on = sorted(OF_TASKS & set(call.retry.on)) or sorted(Policy().on)
        columns["retries"] = {"max": call.retry.max, "backoff_seconds": call.retry.backoff_seconds, "on": on}
    value_id = values.keep(columns["organization_id"], columns["inputs"])
    if value_id is not None:
        columns |= {"inputs": None, "inputs_ref": value_id}
    parents = {"run_id": call.run_id, "node_id": call.node_id, "study_id": call.study_id, "point": call.point}
    return columns | {name: parent for name, parent in parents.items() if parent is not None}
