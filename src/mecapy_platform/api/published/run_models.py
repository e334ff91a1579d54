"""Bodies and answers of the published paths of runs, field by field as their document has them; ours beside them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mecapy_platform.services.runs.requests import RunOptions


class WorkflowRunRequest(BaseModel):
    """`inputs` as published; the rest is ours."""

    model_config = ConfigDict(extra="forbid")

    inputs: Annotated[dict[str, Any], Field(description="Values of input nodes, by node_key.")] = {}
    version: Annotated[int | None, Field(ge=1, le=2**31 - 1, description="The newest when left out.")] = None
    failure_policy: Annotated[
        Literal["fail_fast", "continue"], Field(description="`continue`: what does not depend on a failed node starts.")
    ] = "fail_fast"
    deadline_seconds: Annotated[float | None, Field(gt=0, le=366 * 86_400)] = None
    priority: Annotated[int, Field(ge=0, le=9, description="9 comes first.")] = 5
    reuse: Annotated[
        Literal["off", "own", "organization"], Field(description="Whose identical results may be taken.")
    ] = "off"

    def options(self) -> RunOptions:
        return RunOptions(self.failure_policy, self.deadline_seconds, self.priority, self.reuse)


class WorkflowRunResponse(BaseModel):
    id: str
    workflow_version_id: str
    user_id: str
    status: Annotated[str, Field(description="pending, running, completed, failed, cancelled or timeout")]
    started_at: str
    completed_at: str | None
    inputs: dict[str, Any] | None = None
    terminal_outputs: dict[str, Any] | None
    visibility_snapshot: str
    error_message: str | None
    first_failed_node_key: str | None
    node_states: dict[str, Any] | None = None
    plan_snapshot: dict[str, Any] | None = None
    qa_tracked: bool = False
    qa_tracked_at: str | None = None
    qa_tracked_by: str | None = None
    state: Annotated[str, Field(description="Ours: also `paused`.")] = "pending"
    held_reason: Annotated[str | None, Field(description="Ours: why nothing more is started.")] = None
    error_code: str | None = None
    workflow_slug: str = ""
    change: Annotated[int, Field(description="Grows with each change, for who watches.")] = 0
    other_nodes: Annotated[dict[str, Any], Field(description="States of the nodes that are no function nodes.")] = {}
    units: Annotated[
        dict[str, str],
        Field(description="Nodes whose outputs are not in SI: the unit system of their package, by key."),
    ] = {}
    warnings: Annotated[list[dict[str, Any]], Field(description="Of a run just started.")] = []


class WorkflowRunSummary(BaseModel):
    id: str
    workflow_slug: str
    status: str
    started_at: str
    completed_at: str | None
    duration_ms: int | None
    qa_tracked: bool = False


class WorkflowRunListResponse(BaseModel):
    runs: list[WorkflowRunSummary]
    total: int
