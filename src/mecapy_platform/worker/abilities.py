"""What a worker process can do beyond giving room: tools, interpreters, images. Claims, submits and builds go by it."""

from mecapy_platform.core.placement import CALLS, CONTAINERS, IMAGE, python_ability
from mecapy_platform.embedded.interpreters import VERSIONS
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.interpreters import can_run


def abilities_now(context: WorkerContext) -> tuple[list[str], list[str]]:
    """What it can do, and what it could do if its part were not away just now."""
    every, containers = abilities_of(context), context.containers
    if containers is None or context.care.refusal_of(containers) is None:
        return every, []
    away = [ability for ability in every if ability in {IMAGE, CONTAINERS}]
    return [ability for ability in every if ability not in away], away


def abilities_of(context: WorkerContext) -> list[str]:
    """In a fixed order. Images twice: as functions deployed by an earlier version name them, too."""
    allow_newer = context.settings.allow_newer_python
    interpreters = [
        python_ability(minor) for minor in VERSIONS if can_run(context.interpreters, minor, allow_newer=allow_newer)
    ]
    images = [IMAGE, CONTAINERS] if context.containers is not None else []
    carries = [] if context.sandbox.is_durable else [CALLS]  # calls of minutes and hours go alone there
    return [*context.tools, *interpreters, *images, *carries]
