"""Building a deployed version: claimed by lease like a task, ended once.

What is built lies on the worker; the verdict lies here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mecapy_platform.core.errors import ConflictError, InvalidInputError, MecapyError, NotFoundError
from mecapy_platform.core.events import VersionBuilt
from mecapy_platform.core.placement import Place, misfit, misfit_everywhere
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.states import TaskState, VersionStatus
from mecapy_platform.core.stored_text import storable, storable_json
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.values import check_inputs
from mecapy_platform.db import queue
from mecapy_platform.db.tables import Function, Organization, PackageVersion, Task
from mecapy_platform.services.build_plan import BuildPlan
from mecapy_platform.services.events import record
from mecapy_platform.services.places import build_needs, known_places
from mecapy_platform.services.tasks.ending import Ending, end
from mecapy_platform.services.tasks.requests import inputs_digest
from mecapy_platform.services.values import DAMAGED, ValueStore

LOG_CHARACTERS = 1_000_000
LEFT_SECONDS = 2.0  # how long a build is left to a worker that can do it, before this one looks again


@dataclass(frozen=True)
class Ports:
    """The ports of a function as read from its handler's signature."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    free_inputs: bool


@dataclass(frozen=True)
class Built:
    """What a build came to; `error_code` None means ready."""

    log: str
    interpreter: str | None = None
    environment_digest: str | None = None
    requirements_lock: str | None = None
    ports: Mapping[str, Ports] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    error_code: str | None = None
    error_message: str | None = None


def claim_build(session: Session, rules: QueueRules, place: Place | None = None) -> BuildPlan | None:
    """Take a version that waits, or one whose builder is gone, by turns between organizations.

    What `place` lacks and another worker has is left to that one. After too many tries a version is broken.
    """
    while (found := _claim_next(session, rules)) is not None:
        if place is None or not _is_for_another(session, found, place):
            return _unless_lost(session, found, rules)
        give_back(session, found.token, LEFT_SECONDS, is_counted=False)
    return None


def _is_for_another(session: Session, plan: BuildPlan, place: Place) -> bool:
    needs = build_needs(plan)
    return misfit(needs, place) is not None and misfit_everywhere(needs, [place, *known_places(session)]) is None


def _unless_lost(session: Session, plan: BuildPlan, rules: QueueRules) -> BuildPlan | None:
    if plan.attempt <= rules.build_attempts:
        return plan
    message = f"The build was started {rules.build_attempts} times and its machine was lost each time."
    finish_build(session, plan.token, Built(log=plan.log, error_code="build_lost", error_message=message))
    return None


def _claim_next(session: Session, rules: QueueRules) -> BuildPlan | None:
    token = uuid4()
    session.execute(queue.LOCK_BUILDS)
    version_id = session.scalar(
        queue.CLAIM_BUILD,
        {
            "token": token,
            "lease_seconds": rules.lease_seconds,
            "organization_max": rules.organization_max_builds,
        },
    )
    if version_id is None:
        return None
    version = session.get_one(PackageVersion, version_id, populate_existing=True)
    functions = session.scalars(
        select(Function).where(Function.package_version_id == version_id).order_by(Function.name)
    ).all()
    return BuildPlan.read(token, version, functions, session.get_one(Organization, version.organization_id))


def give_back(session: Session, token: UUID, delay_seconds: float, *, is_counted: bool, log: str | None = None) -> bool:
    """Let a build that met a fault of the machine's be tried again, here or elsewhere. It is no verdict.

    `is_counted`: it had begun, so that a package that breaks machines is given up some day.
    """
    values = {"token": token, "delay_seconds": delay_seconds, "counted": int(is_counted)}
    text = None if log is None else storable(log, LOG_CHARACTERS)
    return session.execute(queue.GIVE_BUILD_BACK, {**values, "log": text}).first() is not None


def reserve(session: Session, token: UUID, node: str, memory_mb: int) -> bool | None:
    """Set memory of a node aside for a build, in the place of what it had. Whether it is free already; see `has_room`.

    Of a node that is smaller, all.
    """
    session.execute(queue.LOCK_NODE, {"node": node})
    session.execute(queue.RESERVE_FOR_BUILD, {"token": token, "node": node, "memory_mb": memory_mb})
    return has_room(session, token)


def reserve_if_free(session: Session, token: UUID, node: str, memory_mb: int) -> bool | None:
    """As `reserve`, but nothing is set aside where it is not free now."""
    with session.begin_nested() as attempt:
        is_free = reserve(session, token, node, memory_mb)
        if not is_free:
            attempt.rollback()
    return is_free


def has_room(session: Session, token: UUID) -> bool | None:
    """Whether what was set aside is free of tasks, and of builds that came before. None: the token no longer counts."""
    has: bool | None = session.scalar(queue.BUILD_HAS_ROOM, {"token": token})
    return has


def renew_build(session: Session, token: UUID, rules: QueueRules) -> bool:
    return session.scalar(queue.RENEW_BUILD, {"token": token, "lease_seconds": rules.lease_seconds}) is not None


def finish_build(session: Session, token: UUID, built: Built, values: ValueStore | None = None) -> bool:
    """Record the end of a build, let its waiting tasks go or end them.

    `values`: where large inputs of those lie; who records a failure needs none. False: the token no longer counts,
    nothing is changed.
    """
    query = select(PackageVersion).where(
        PackageVersion.build_token == token, PackageVersion.status == VersionStatus.BUILDING
    )
    version = session.scalars(query.with_for_update()).first()
    if version is None:
        return False
    version.status = VersionStatus.ERROR if built.error_code else VersionStatus.READY
    version.build_log = storable(built.log, LOG_CHARACTERS)
    version.interpreter, version.environment_digest = built.interpreter, built.environment_digest
    version.requirements_lock = built.requirements_lock
    version.report = storable_json(dict(built.report))
    version.error_code = built.error_code
    version.error_message = None if built.error_message is None else storable(built.error_message)
    version.build_token = version.build_lease_until = None
    version.built_at = func.clock_timestamp()
    for name, ports in built.ports.items():
        session.execute(
            update(Function)
            .where(Function.package_version_id == version.id, Function.name == name)
            .values(inputs=dict(ports.inputs), outputs=dict(ports.outputs), free_inputs=ports.free_inputs)
        )
    record(session, VersionBuilt(version.id, VersionStatus(version.status)), version.organization_id)
    session.flush()
    _let_go(session, version, values)
    session.execute(queue.NOTIFY, {"key": f"version:{version.id}"})
    return True


def _let_go(session: Session, version: PackageVersion, values: ValueStore | None) -> None:
    waiting = session.scalars(
        select(Task).where(Task.package_version_id == version.id, Task.hold_reason == "building").with_for_update()
    ).all()
    functions = {
        item.id: item for item in session.scalars(select(Function).where(Function.package_version_id == version.id))
    }
    for function in functions.values():
        session.refresh(function)
    ends = []
    for task in waiting:
        try:
            columns = _checked_inputs(session, version, functions[task.function_id], task, values)
        except MecapyError as error:
            if not _is_of_the_task(error):
                raise
            ends.append(Ending(TaskState.FAILED, task_id=task.id, code=error.code, message=storable(error.sentence())))
            continue
        session.execute(update(Task).where(Task.id == task.id).values(**columns))
        task.claimable, task.hold_reason = True, None
        task.interpreter, task.environment_digest = version.interpreter, version.environment_digest
    end(session, ends)


def _is_of_the_task(error: MecapyError) -> bool:
    """Its inputs are wrong, or lost for good. Storage that is full or away is no reason to end it, nor its version."""
    return isinstance(error, InvalidInputError | ConflictError | NotFoundError) or error.code == DAMAGED


def _checked_inputs(
    session: Session, version: PackageVersion, function: Function, task: Task, values: ValueStore | None
) -> Mapping[str, Any]:
    """The columns of its inputs, checked and converted now that its ports are known. One task's at a time are held."""
    if version.status == VersionStatus.ERROR:
        raise ConflictError("version_broken", f"The version did not build: {version.error_message}")
    given, files = session.execute(select(Task.inputs, Task.files).where(Task.id == task.id)).one()
    if task.inputs_ref is not None and values is not None:
        given = values.load(session, task.organization_id, task.inputs_ref)
    units = function.options.get("units") or UnitSystem.SI
    inputs = check_inputs(function.inputs or {}, given, files, free=function.free_inputs, units=units)
    ref = task.inputs_ref
    if values is not None and (ref is None or inputs != given):
        ref = values.keep(task.organization_id, inputs)
    return {
        "inputs": inputs if ref is None else None,
        "inputs_ref": ref,
        "inputs_digest": inputs_digest(inputs, files),
    }
