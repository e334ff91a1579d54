"""The bubblewrap backend as the registry knows it."""

import os

from mecapy_platform.sandbox.backends import BackendKind, Capabilities, Given
from mecapy_platform.sandbox.base import OwnedSandbox
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.zygote_pool import WarmLimits


def make(given: Given) -> OwnedSandbox:
    return BubblewrapSandbox(given.spawner_socket, warm_limits(given))


def warm_limits(given: Given) -> WarmLimits | None:
    warm = given.warm
    if warm.get("sandboxes", 0) < 1:
        return None
    physical_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return WarmLimits(
        sandboxes=int(warm["sandboxes"]),
        slots=int(warm["slots"]),
        calls=int(warm["calls"]),
        idle_seconds=warm["idle_seconds"],
        ahead_memory_mb=int(warm["ahead_memory_mb"]) or physical_mb // 16,
    )


KIND = BackendKind(BubblewrapSandbox.name, Capabilities(), make)
