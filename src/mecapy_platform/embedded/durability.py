"""Whether long calculations outlive a restart of their worker, as `mecapy doctor` says it."""

from mecapy_platform.core.lanes import Lane
from mecapy_platform.sandbox.base import Check
from mecapy_platform.settings import Settings

DURABLE = frozenset({"docker"})


def check_durability(settings: Settings) -> Check:
    """One line; not required, as short calculations lose nothing but seconds."""
    backend = settings.backend_of(Lane.LONG_RUNNING)
    if backend in DURABLE:
        seconds = f"{settings.durable_absence_seconds:g}"
        detail = (
            f"they run on {backend} and go on while their worker is away, on a node that is back within {seconds} s"
        )
        return Check("long calculations", holds=True, detail=detail, required=False)
    detail = (
        f"they run on {backend}, end with their worker and start again. Where a Docker daemon is: "
        'MECAPY_SANDBOX_BACKENDS={"long_running": "docker"}'
    )
    return Check("long calculations", holds=False, detail=detail, required=False)
