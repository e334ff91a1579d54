"""Runs over real PostgreSQL with no worker: a test ends tasks itself, and advances as a worker would."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, undefer

from mecapy_platform.core.access import Actor
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Artifact, Task
from mecapy_platform.db.workflow_tables import Call, DueMark, RunNode, Workflow, WorkflowRun, WorkflowVersion
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services.runs import advance, submit
from mecapy_platform.services.runs.requests import RunOptions, RunRequest
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.values import ValueStore
from mecapy_platform.services.work import unit
from mecapy_platform.settings import Settings
from mecapy_platform.storage.filesystem import FilesystemStorage
from support import factories
from support.platform.services import fresh_database

ROW_BYTES = 4096
ADD = {
    "inputs": {name: {"type": "Float", "description": None, "required": True} for name in ("a", "b")},
    "outputs": {"sum": {"type": "Float", "description": None, "required": True}},
}
SPLIT = {
    "inputs": {"count": {"type": "Integer", "description": None, "required": True}},
    "outputs": {"parts": {"type": "list[Float]", "description": None, "required": True}},
}
LOADED = {
    "inputs": {"force": {"type": "Force", "description": None, "required": True}},
    "outputs": {"stress": {"type": "Stress", "description": None, "required": True}},
}
MESH = {
    "inputs": {"size": {"type": "Float", "description": None, "required": True}},
    "outputs": {"mesh": {"type": "File", "description": None, "required": True}},
}
SOLVE = {
    "inputs": {"mesh": {"type": "File", "description": None, "required": True}},
    "outputs": {"sum": {"type": "Float", "description": None, "required": True}},
}
FUNCTIONS = {"add": ADD, "split": SPLIT, "loaded": LOADED, "mesh": MESH, "solve": SOLVE}
Node = Mapping[str, Any]


@dataclass
class Bench:
    """A user with a package of functions, who runs workflows."""

    server: Postgres
    app: Database
    worker: Database
    storage: FilesystemStorage
    actor: Actor
    package: factories.ReadyPackage
    rules: QueueRules = field(default_factory=lambda: Settings().queue_rules)

    @property
    def organization_id(self) -> UUID:
        return self.actor.organization.organization_id

    def function(self, key: str, name: str = "add", **more: Any) -> dict[str, Any]:
        """A function node."""
        return {"node_key": key, "function_version_id": str(self.package.functions[name]), **more}

    def body(self, name: str = "add") -> dict[str, str]:
        return {"function_version_id": str(self.package.functions[name])}

    def version(self, nodes: Sequence[Node], edges: Sequence[str], **graph: Any) -> UUID:
        """A workflow with one version; an edge is written `source.port > target.port`, `= alias` behind it."""
        with self.worker.transaction() as session:
            slug = factories.unique("w")
            workflow = Workflow(organization_id=self.organization_id, owner_id=self.actor.user_id, slug=slug, name=slug)
            session.add(workflow)
            session.flush()
            version = WorkflowVersion(
                organization_id=self.organization_id,
                workflow_id=workflow.id,
                number=1,
                graph={"nodes": list(nodes), "edges": [edge(text) for text in edges], **graph},
                created_by=self.actor.user_id,
            )
            session.add(version)
            session.flush()
            return version.id

    def submit(self, version_id: UUID, inputs: Mapping[str, Any] | None = None, **options: Any) -> UUID:
        key = options.pop("idempotency_key", None)
        request = RunRequest(version_id, inputs or {}, RunOptions(**options))
        with unit(self.app, self.actor.organization_ids, self.actor.user_id) as session:
            tools = self.tools_of(self.actor)
            return submit.submit(session, self.actor, request, tools=tools, idempotency_key=key).run_id

    def tools_of(self, actor: Actor) -> Tools:
        """As the API has them."""

        def scope() -> AbstractContextManager[Session]:
            return unit(self.app, actor.organization_ids, actor.user_id)

        return Tools(ValueStore(self.storage, scope, ROW_BYTES), self.rules)

    def age_marks(self) -> None:
        """They were left a while ago."""
        with self.worker.transaction() as session:
            session.execute(update(DueMark).values(created_at=func.clock_timestamp() - timedelta(seconds=5)))

    @property
    def tools(self) -> Tools:
        return Tools(ValueStore(self.storage, self.worker.transaction, ROW_BYTES), self.rules, takes_marks=True)

    def advance(self, run_id: UUID) -> None:
        """As the process that ended a task does, with the runs that wait for this one."""
        due = [run_id]
        while due:
            with self.worker.transaction() as session:
                due += advance.advance(session, due.pop(0), self.tools).parents

    def tasks(self, run_id: UUID, state: str = "queued") -> dict[str, Task]:
        """By name: of the run and of those inside it."""
        with self.worker.transaction() as session:
            inner = select(WorkflowRun.id).where(WorkflowRun.root_run_id == run_id)
            query = select(Task).where((Task.run_id == run_id) | Task.run_id.in_(inner), Task.state == state)
            rows = session.scalars(query.order_by(Task.sequence).options(undefer(Task.inputs), undefer(Task.files)))
            return {task.name: task for task in rows}

    def begin(self, task: Task) -> None:
        """A worker has it."""
        with self.worker.transaction() as session:
            row = session.get_one(Task, task.id, with_for_update=True)
            row.state, row.claimable = TaskState.RUNNING, False

    def end(
        self,
        task: Task,
        result: Mapping[str, Any] | None = None,
        *,
        state: TaskState = TaskState.COMPLETED,
        advances: bool = True,
        **columns: Any,
    ) -> None:
        """End a queued or running task as mecapy_end does, with its mark, and advance its run."""
        self.begin(task)
        with self.worker.transaction() as session:
            code = None if state is TaskState.COMPLETED else columns.pop("code", state.value)
            row = session.get_one(Task, task.id)
            row.state, row.result, row.completed_at = state, dict(result or {}) or None, func.clock_timestamp()
            row.error_code, row.error_message = code, None if code is None else f"It ended as {state}."
            for kind, name, filename, key, size_bytes in columns.pop("files", ()):
                session.add(
                    Artifact(
                        organization_id=row.organization_id, task_id=row.id, attempt=1, kind=kind, name=name,
                        filename=filename, key=key, size_bytes=size_bytes, sha256="0" * 64,
                    )
                )  # fmt: skip
            for name, value in columns.items():
                setattr(row, name, value)
            session.add(DueMark(run_id=task.run_id, task_id=task.id))
        if advances and task.run_id is not None:
            self.advance(task.run_id)

    def serve(self, run_id: UUID, body: Callable[[Task], Mapping[str, Any]], most: int = 200) -> int:
        """End whatever is queued with what `body` gives, until nothing is. Returns how many tasks there were."""
        served = 0
        while served < most and (tasks := self.tasks(run_id)):
            for task in tasks.values():
                self.end(task, body(task))
                served += 1
        return served

    def run(self, run_id: UUID) -> WorkflowRun:
        with self.worker.transaction() as session:
            return session.get_one(WorkflowRun, run_id)

    def nodes(self, run_id: UUID) -> dict[str, RunNode]:
        with self.worker.transaction() as session:
            return {node.key: node for node in session.scalars(select(RunNode).where(RunNode.run_id == run_id))}

    def states(self, run_id: UUID) -> dict[str, str]:
        return {key: node.state for key, node in self.nodes(run_id).items()}

    def calls(self, run_id: UUID, key: str) -> list[Call]:
        with self.worker.transaction() as session:
            query = select(Call).join(RunNode, RunNode.id == Call.node_id)
            return list(session.scalars(query.where(RunNode.run_id == run_id, RunNode.key == key).order_by(Call.index)))

    def marks(self, run_id: UUID) -> int:
        with self.worker.transaction() as session:
            return session.scalar(select(func.count()).select_from(DueMark).where(DueMark.run_id == run_id)) or 0


HANDLER = """
def add(a, b):
    return {"sum": a + b}


def split(count):
    if count < 0:
        raise ValueError("There are no parts of less than nothing.")
    return {"parts": [float(number) for number in range(count)]}
"""


def everything(made: Bench) -> UUID:
    """A graph with a map, an if, a loop and a workflow inside, whose result for n = 4 is 27."""
    inner = made.version([given("x"), made.function("f")], ["x.value > f.a", "x.value > f.b"])
    nodes = [
        given("n", "Integer"),
        {"node_key": "one", "node_kind": "constant", "value": 1.0, "type_expr": "Float"},
        made.function("split", "split"),
        {"node_key": "each", "node_kind": "map", "over": ["a"], "parallel": 3, "body": made.body()},
        {
            "node_key": "total", "node_kind": "expression", "expression": "sum(v)", "ports": {"v": "list[Float]"},
            "type_expr": "Float",
        },
        {
            "node_key": "choice", "node_kind": "if", "condition": "t > 5", "ports": {"t": "Float"},
            "then": made.body(), "else": None,
        },
        {
            "node_key": "grow", "node_kind": "loop", "body": made.body(), "until": "sum >= 13", "max_iterations": 9,
            "feedback": {"sum": "a"},
        },
        {"node_key": "inner", "node_kind": "workflow", "workflow_version_id": str(inner)},
        made.function("last"),
    ]  # fmt: skip
    edges = [
        *("n.value > split.count", "split.parts > each.a", "one.value > each.b", "each.sum > total.v"),
        *("total.value > choice.t", "total.value > choice.a", "one.value > choice.b"),  # 10 and 1 are 11
        *("choice.sum > grow.a", "one.value > grow.b", "grow.sum > inner.x"),  # 12, 13; and twice that
        *("inner.sum > last.a", "one.value > last.b"),
    ]
    return made.version(nodes, edges)


def edge(written: str) -> dict[str, Any]:
    path, _, alias = written.partition("=")
    source, _, target = path.partition(">")
    (source_key, source_port), (target_key, target_port) = (end.strip().split(".") for end in (source, target))
    return {
        "source_node_key": source_key,
        "source_port": source_port,
        "target_node_key": target_key,
        "target_port": target_port,
        "alias": alias.strip() or None,
    }


def given(key: str, type_expr: Any = "Float", **spec: Any) -> dict[str, Any]:
    """An input node."""
    return {"node_key": key, "node_kind": "input", "input_spec": {"label": key, "type_expr": type_expr, **spec}}


def add(task: Task) -> dict[str, Any]:
    """What the function `add` gives."""
    inputs = task.inputs or {}
    return {"sum": inputs["a"] + inputs["b"]}


@contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    with fresh_database() as server:
        app, worker = Database(make_engine(server.app_url)), Database(make_engine(server.worker_url))
        slug = factories.unique()
        actor = factories.actor(app, factories.unique("ada"), slug)
        package = factories.ready_package(
            worker, actor.organization.organization_id, actor.user_id, functions=FUNCTIONS
        )
        storage = FilesystemStorage(directory / "storage", base_url="http://localhost", secret="s", floor_bytes=0)
        yield Bench(server, app, worker, storage, actor, package)
        app.dispose()
        worker.dispose()
