"""Memory of the node for a build and its test cases: reserved as a task's is, so that both together never exceed it."""

import time

from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.services import builds
from mecapy_platform.services.build_plan import BuildPlan
from mecapy_platform.worker.context import WorkerContext

SANDBOX_MB = 1024  # of what compiles, scans and describes a package, one after another
LOOK_SECONDS = 0.25
HELD_SECONDS = 15.0
FREE_LOOK_SECONDS = 1.0


def memory_of(context: WorkerContext, plan: BuildPlan) -> int:
    """The most that a step of the build may use before its test cases."""
    fetches = bool(plan.manifest["runtime"].get("requirements"))
    fetch_mb = context.fetcher.limits.group.memory_mb if fetches else 0
    return max(SANDBOX_MB, context.settings.scan_memory_mb, fetch_mb)


def take_room_for_testcases(context: WorkerContext, plan: BuildPlan) -> None:
    """They follow each other, each in the memory of its function."""
    tested = {name for name, function in plan.manifest["functions"].items() if function.get("testcases")}
    most = max((function.memory_mb for function in plan.functions if function.name in tested), default=0)
    if most > SANDBOX_MB:
        take_room(context, plan, max(most, memory_of(context, plan)), context.settings.build_timeout_seconds)


def take_room(context: WorkerContext, plan: BuildPlan, memory_mb: int, seconds: float) -> None:
    """Reserve so much of this node, in the place of what the build had, and wait until tasks have left it.

    At first it is held ahead, so that no new task takes it. Where a task that stays for long is in the way, nothing is
    held any more: a build that waits must not shut the node to everybody else.

    Raises
    ------
    UnavailableError
        They have not after so long, or the build was taken by another builder; it is given back uncounted.
    """
    began = time.monotonic()
    node, is_held = context.worker.node, True
    with context.database.transaction() as session:
        is_free = builds.reserve(session, plan.token, node, memory_mb)
    while not is_free:
        if is_free is None:
            raise UnavailableError("build_waits", "Another builder has taken the build over.")
        if time.monotonic() - began > seconds:
            raise UnavailableError(
                "build_waits",
                f"This node has not had {memory_mb} MiB of memory free for the build within {seconds:g} s.",
            )
        time.sleep(LOOK_SECONDS if is_held else FREE_LOOK_SECONDS)
        with context.database.transaction() as session:
            if is_held and time.monotonic() - began > HELD_SECONDS:
                builds.reserve(session, plan.token, node, 0)
                is_held = False
            if is_held:
                is_free = builds.has_room(session, plan.token)
            else:
                is_free = builds.reserve_if_free(session, plan.token, node, memory_mb)
