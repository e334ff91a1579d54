"""The backends that the settings choose among those declared."""

from collections.abc import Mapping

from mecapy_platform.sandbox.backends import BackendKind, Backends, Given
from mecapy_platform.sandbox.registry import DECLARED
from mecapy_platform.settings import Settings


def chosen(settings: Settings, kinds: Mapping[str, BackendKind] = DECLARED) -> Backends:
    """`kinds`: those that can be chosen."""
    return Backends(
        kinds, settings.sandbox_backend, settings.sandbox_backends, settings.images_backend, settings.options_of
    )


def given(settings: Settings, kind: BackendKind, node: str) -> Given:
    """What a worker on this node tells a backend that it makes."""
    return Given(
        home=settings.data_dir.resolve(),
        node=node,
        platform=settings.platform_name,
        spawner_socket=settings.spawner_socket,
        warm={
            "sandboxes": settings.warm_sandboxes,
            "slots": settings.warm_slots,
            "calls": settings.warm_calls,
            "idle_seconds": settings.warm_idle_seconds,
            "ahead_memory_mb": settings.warm_ahead_memory_mb,
        },
        options=settings.options_of(kind.name),
    )
