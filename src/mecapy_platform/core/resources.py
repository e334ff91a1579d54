"""Tiers of resources, their cap, and how a function's block overrides its package's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from mecapy_platform.core.errors import ConfigurationError


@dataclass(frozen=True)
class Resources:
    """What one task may use: whole CPUs, memory in MiB, wall time in seconds."""

    cpu: int
    memory_mb: int
    timeout_seconds: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


TIERS: dict[str, Resources] = {
    "nano": Resources(1, 512, 60),
    "micro": Resources(1, 1024, 120),
    "small": Resources(2, 2048, 300),
    "medium": Resources(2, 4096, 600),
    "large": Resources(4, 8192, 1800),
}
DEFAULT_TIER = "small"


def cap_of(text: str) -> Resources | None:
    """The cap that a setting names: a tier, `CPU:MiB:SECONDS` such as `16:65536:604800`, or `none`."""
    if text == "none":
        return None
    if text in TIERS:
        return TIERS[text]
    parts = text.split(":")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        return Resources(*(int(part) for part in parts))
    raise ConfigurationError(
        "bad_tier_cap", f"{text!r} is no cap on resources; write {', '.join(TIERS)}, CPU:MiB:SECONDS, or none."
    )


def resolve(package: Mapping[str, object], function: Mapping[str, object]) -> Resources:
    """Combine two blocks of {tier, cpu, memory_mb, timeout}, already checked.

    A tier in the function's block replaces cpu and memory; an explicit field replaces that field. A time limit written
    down in either block wins over a tier's; else it is the one of the tier that counts.
    """
    own_tier = function.get("tier")
    base = TIERS[str(own_tier or package.get("tier") or DEFAULT_TIER)]
    explicit = function if own_tier else {**package, **function}
    timeout = function.get("timeout", package.get("timeout", base.timeout_seconds))
    return Resources(
        cpu=_whole(explicit.get("cpu", base.cpu)),
        memory_mb=_whole(explicit.get("memory_mb", base.memory_mb)),
        timeout_seconds=_whole(timeout),
    )


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
