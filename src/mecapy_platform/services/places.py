"""The workers that are there now, as core/placement sees them, and what is said when none of them will do."""

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.placement import Misfit, Needs, Place, abilities_of, misfit_everywhere
from mecapy_platform.db.tables import Function, Node, PackageVersion, Task, Worker
from mecapy_platform.services.build_plan import BuildPlan

SEEN = text("interval '60 seconds'")  # a worker tells of itself every few seconds
SILENT = (
    "No worker process of this version tells of itself from this node. Those of an earlier version are not handed "
    "anything: start them again with this version."
)
WHAT_TO_DO = {
    "tool_missing": "Ask the operator to install it on a worker, or take it out of `needs` in the manifest.",
    "interpreter_missing": "Declare one of those as runtime.version, or ask the operator to install it on a worker.",
    "images_unsupported": "Ask the operator for a worker with a Docker daemon.",
    "never_fits": "Declare less in the manifest, or add a larger worker.",
}


def known_places(session: Session) -> list[Place]:
    """Every worker that was seen lately, whether it takes work just now or not.

    A node without any row of a worker has processes of an earlier version, which are not handed anything, or none.
    """
    nodes = {node.name: node for node in session.scalars(select(Node).where(Node.seen_at > func.now() - SEEN))}
    workers = session.scalars(select(Worker).where(Worker.seen_at > func.now() - SEEN)).all()
    places = [_place(nodes[worker.node], worker) for worker in workers if worker.node in nodes]
    told = {worker.node for worker in workers}
    return [*places, *(_silent(nodes[name]) for name in sorted(nodes.keys() - told))]


def known_workers(session: Session) -> list[tuple[str, Place]]:
    """Each worker process that was seen lately, by name; a node of which none tells, by the node's."""
    rows = session.execute(
        select(Worker, Node).join(Node, Node.name == Worker.node).where(Worker.seen_at > func.now() - SEEN)
    ).all()
    told = {node.name for _, node in rows}
    nodes = session.scalars(select(Node).where(Node.seen_at > func.now() - SEEN, Node.name.not_in(told)))
    found = [(worker.name, _place(node, worker)) for worker, node in rows]
    return sorted([*found, *((node.name, _silent(node)) for node in nodes)], key=lambda named: named[0])


def _silent(node: Node) -> Place:
    return Place(node.cpu, node.memory_mb, frozenset(map(str, node.tools)), refusal=SILENT)


def _place(node: Node, worker: Worker) -> Place:
    away = frozenset(worker.away)
    return Place(node.cpu, node.memory_mb, frozenset(worker.abilities) | away, away, worker.refusal, worker.lane)


def needs_of(function: Function, version: PackageVersion) -> Needs:
    """What each task of this function asks of a worker."""
    is_image = function.entrypoint is not None
    runtime = None if is_image else version.interpreter or version.runtime
    return Needs(function.cpu, function.memory_mb, abilities_of(function.options, runtime=runtime, is_image=is_image))


def check_fits(session: Session, function: Function, version: PackageVersion) -> None:
    """A task that no worker can ever run is refused now instead of waiting for ever."""
    found = misfit_everywhere(needs_of(function, version), known_places(session))
    if found is not None:
        raise refused(f"{function.name} cannot run here.", found)


def needs_of_task(session: Session, task: Task) -> Needs:
    function = session.get_one(Function, task.function_id)
    return needs_of(function, session.get_one(PackageVersion, function.package_version_id))


def build_needs(plan: BuildPlan) -> Needs:
    """What building a version asks: its interpreter, and the tools of its functions, as their test cases run."""
    runtime = None if plan.is_image else plan.runtime
    every = (abilities_of(function.options, runtime=runtime, is_image=plan.is_image) for function in plan.functions)
    return Needs(abilities=abilities_of({}, runtime=runtime, is_image=plan.is_image).union(*every))


def refused(what: str, found: Misfit) -> InvalidInputError:
    return InvalidInputError(found.code, f"{what} {found.message} {WHAT_TO_DO[found.code]}")
