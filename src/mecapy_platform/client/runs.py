"""Runs of workflows: start, watch, look at nodes and items, act; what waits for a person."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from mecapy_platform.client.records import build, moment
from mecapy_platform.client.tasks import WAIT_SECONDS, Fault
from mecapy_platform.client.transport import Transport
from mecapy_platform.client.waiting import wait_for_end

ENDED = frozenset({"completed", "failed", "cancelled", "timeout"})
PAGE = 1_000


@dataclass(frozen=True)
class Run:
    """A run, as the platform describes it; `nodes`: how many are in which state. `raw` is the JSON it came from."""

    id: str
    workflow: str
    state: str
    change: int = 0
    nodes: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, Any] | None = None
    error: Fault | None = None
    first_failed_node_key: str | None = None
    held_reason: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        times = {name: moment(data.get(name)) for name in ("created_at", "started_at", "completed_at")}
        return build(cls, data, raw=data, error=Fault.from_json(data.get("error")), **times)


@dataclass(frozen=True)
class RunNode:
    """A node of a run."""

    key: str
    kind: str
    state: str
    tries: int = 0
    items: int | None = None
    task_id: str | None = None
    child_run_id: str | None = None
    outputs: Mapping[str, Any] | None = None
    error: Fault | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        times = {name: moment(data.get(name)) for name in ("started_at", "completed_at")}
        return build(cls, data, raw=data, error=Fault.from_json(data.get("error")), **times)


class Runs:
    """Calls about runs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(self, workflow: str, inputs: Mapping[str, Any], **options: Any) -> Run:
        """`workflow`: slug or id. Options: version, failure_policy, deadline_seconds, priority, reuse."""
        body = {"inputs": dict(inputs), **{name: value for name, value in options.items() if value is not None}}
        started = self._transport.post(f"/workflows/{workflow}/runs", body, idempotency_key=uuid.uuid4().hex)
        return self.get(str(started["id"]))

    def get(self, run_id: str, *, wait_seconds: float = 0.0, change: int = -1) -> Run:
        return Run.from_json(self._transport.get(f"/runs/{run_id}", wait_seconds=wait_seconds, change=change))

    def recent(self, limit: int = 20, *, state: str | None = None) -> list[Run]:
        """Newest first."""
        return [Run.from_json(found) for found in self._transport.get("/runs", limit=limit, state=state)["runs"]]

    def nodes(self, run_id: str, *, outputs: bool = True) -> Iterator[RunNode]:
        """In the order in which they may start, read page by page."""
        after: int | None = -1
        while after is not None:
            page = self._transport.get(f"/runs/{run_id}/nodes", after=after, limit=PAGE, outputs=outputs)
            yield from map(RunNode.from_json, page["nodes"])
            after = page["next_after"]

    def items(self, run_id: str, key: str) -> Iterator[dict[str, Any]]:
        """What a node executes: items of a map, iterations of a loop."""
        after: int | None = -1
        while after is not None:
            page = self._transport.get(f"/runs/{run_id}/nodes/{key}/items", after=after, limit=PAGE)
            yield from page["items"]
            after = page["next_after"]

    def cancel(self, run_id: str) -> Run:
        return self._act(run_id, "cancel")

    def pause(self, run_id: str) -> Run:
        return self._act(run_id, "pause")

    def resume(self, run_id: str) -> Run:
        return self._act(run_id, "resume")

    def retry(self, run_id: str) -> Run:
        return self._act(run_id, "retry")

    def decide(self, run_id: str, key: str, decision: str, comment: str | None = None) -> Run:
        """`decision`: "approve" or "reject"."""
        return self._act(run_id, f"nodes/{key}/decision", {"decision": decision, "comment": comment})

    def approvals(self) -> list[dict[str, Any]]:
        """What waits for a person, oldest first."""
        found: list[dict[str, Any]] = self._transport.get("/approvals")["approvals"]
        return found

    def wait(
        self,
        run_id: str,
        *,
        timeout_seconds: float | None = None,
        step_seconds: float = WAIT_SECONDS,
        on_look: Callable[[Run], None] = lambda _: None,
    ) -> Run:
        """To the end of the run, over restarts of the platform. Raises StillRunningError when the time is over."""
        return wait_for_end(
            lambda seconds, change: self.get(run_id, wait_seconds=seconds, change=change),
            timeout_seconds=timeout_seconds,
            step_seconds=step_seconds,
            on_look=on_look,
            goes_on=f"Run {run_id} goes on; look again with: mecapy workflow watch {run_id}",
        )

    def _act(self, run_id: str, act: str, body: Any = None) -> Run:
        return Run.from_json(self._transport.post(f"/runs/{run_id}/{act}", body, repeatable=False))
