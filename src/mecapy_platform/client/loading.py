"""Functions and workflows as Python callables: `client.load("owner/name")`.

bolts = client.load("acme/bolts")
bolts.size(diameter="12 mm", load="20 kN")["torque"]
bolts.size.map([{"diameter": d, "load": "20 kN"} for d in ("10 mm", "12 mm")])
client.load("acme/margins")(length="1 m")
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mecapy_platform.client.packages import Function, Packages
from mecapy_platform.client.runs import Run, Runs
from mecapy_platform.client.tasks import Fault, Submission, Task, Tasks
from mecapy_platform.client.transport import Transport
from mecapy_platform.client.workflows import Workflows
from mecapy_platform.core.errors import MecapyError, NotFoundError
from mecapy_platform.core.states import TaskState

BULK_MOST = 1_000
Progress = Callable[[int, int], None]  # how many have ended, of how many


class CallFailedError(MecapyError):
    """A call that did not complete: `code` and message are those of its end."""


@dataclass(frozen=True)
class LoadedFunction:
    """A function of one package version. Inputs are given by name; quantities may be texts ("12 mm")."""

    tasks: Tasks
    package: str
    version: str
    function: Function

    def __call__(self, **inputs: Any) -> Mapping[str, Any]:
        """Its outputs. Raises CallFailedError, and what refuses the inputs."""
        return self._outputs(self.submit(**inputs).id)

    def submit(self, **inputs: Any) -> Task:
        """Start it and return at once."""
        return self.tasks.submit(self._submission(inputs))

    def map(
        self, inputs: Iterable[Mapping[str, Any]], *, on_progress: Progress | None = None
    ) -> list[Mapping[str, Any]]:
        """Outputs of many calls, in their order; all are started first. Raises CallFailedError at a failed one."""
        tasks = list(self._submit_all([dict(item) for item in inputs]))
        found = []
        for done, task_id in enumerate(tasks, 1):
            found.append(self._outputs(task_id))
            if on_progress is not None:
                on_progress(done, len(tasks))
        return found

    def _submit_all(self, inputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        for first in range(0, len(inputs), BULK_MOST):
            members = [self._submission(item) for item in inputs[first : first + BULK_MOST]]
            for verdict in self.tasks.submit_bulk(members):
                if verdict.task is None:
                    error = Fault.from_json(verdict.error) or Fault("refused", "The platform refused it.")
                    detail = str((verdict.error or {}).get("detail") or error.message)
                    raise CallFailedError(error.code, f"Call {first + verdict.index}: {detail}")
                yield verdict.task.id

    def _submission(self, inputs: Mapping[str, Any]) -> Submission:
        return Submission(self.package, self.function.name, inputs, version=self.version)

    def _outputs(self, task_id: str) -> Mapping[str, Any]:
        task = self.tasks.wait(task_id)
        if task.state is not TaskState.COMPLETED:
            error = task.error or Fault(task.state.value, "It did not complete.")
            raise CallFailedError(error.code, f"{self.function.name} ({task_id}): {error.message}")
        return self.tasks.result(task_id).result or {}


@dataclass(frozen=True)
class LoadedPackage:
    """The functions of a package's newest version, as attributes."""

    name: str
    version: str
    functions: Mapping[str, LoadedFunction]

    def __getattr__(self, name: str) -> LoadedFunction:
        functions = self.__dict__.get("functions") or {}
        if name not in functions:
            raise AttributeError(
                f"{self.__dict__.get('name')} has no function {name!r}. It has: {', '.join(functions)}."
            )
        found: LoadedFunction = functions[name]
        return found

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.functions]


@dataclass(frozen=True)
class LoadedWorkflow:
    """A workflow, at its newest version when it is called."""

    runs: Runs
    id: str
    name: str

    def __call__(self, **inputs: Any) -> Mapping[str, Any]:
        """Outputs of the nodes that feed no other, by node. Raises CallFailedError."""
        run = self.runs.wait(self.submit(**inputs).id)
        if run.state != "completed":
            error = run.error or Fault(run.state, f"The run is {run.state}.")
            raise CallFailedError(
                error.code, f"{self.name} ({run.id}), node {run.first_failed_node_key}: {error.message}"
            )
        return run.outputs or {}

    def submit(self, **inputs: Any) -> Run:
        """Start a run and return at once."""
        return self.runs.start(self.id, inputs)


def load(transport: Transport, reference: str) -> LoadedPackage | LoadedWorkflow:
    """What `owner/name` or `name` names: a workflow, else a package. Raises NotFoundError."""
    try:
        workflow = Workflows(transport).get(reference)
    except NotFoundError:
        package = Packages(transport).find(reference)
        tasks, owner = Tasks(transport), package.organization_slug
        name = f"{owner}/{package.name}" if owner else package.name
        functions = {item.name: LoadedFunction(tasks, name, package.version, item) for item in package.functions}
        return LoadedPackage(package.name, package.version, functions)
    return LoadedWorkflow(Runs(transport), workflow.id, workflow.name)
