"""Whether long calculations outlive a restart of their worker, as `mecapy doctor` says it."""

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.sandbox.base import Check
from mecapy_platform.sandbox.registry import DECLARED
from mecapy_platform.services.backends import chosen
from mecapy_platform.settings import Settings


def check_durability(settings: Settings) -> Check:
    """One line; not required, as short calculations lose nothing but seconds."""
    try:
        kind = chosen(settings).of_lane(Lane.LONG_RUNNING)
    except MecapyError as error:
        return Check("long calculations", holds=False, detail=error.message, required=False)
    backend = kind.name
    if kind.capabilities.is_durable:
        seconds = f"{settings.durable_absence_seconds:g}"
        detail = (
            f"they run on {backend} and go on while their worker is away, on a node that is back within {seconds} s"
        )
        return Check("long calculations", holds=True, detail=detail, required=False)
    durable = ", ".join(name for name, other in DECLARED.items() if other.capabilities.is_durable)
    detail = (
        f"they run on {backend}, end with their worker and start again. On {durable}, where it can be had, they go on: "
        f'MECAPY_SANDBOX_BACKENDS={{"long_running": "{durable.split(", ")[0]}"}}'
    )
    return Check("long calculations", holds=False, detail=detail, required=False)
