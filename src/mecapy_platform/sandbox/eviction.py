"""Who makes room where only so many warm sandboxes are kept: no organization can push out another's last one."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

PUSH_OUT_SECONDS = 30.0  # an organization's last sandbox is left alone unless it was idle for so long
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Held(Generic[Name]):
    """What choosing a victim looks at."""

    key: Name
    organization: str
    used_at: float
    is_busy: bool


def choose_victim(held: Sequence[Held[Name]], organization: str, now: float) -> Name | None:
    """Which of those that are kept warm makes room for one of `organization`; None when nobody should. Pure.

    The organization that has most gives up its least recently used one; one's own counts as one more, so that asking
    for another never costs somebody who has as many. An organization's last one goes only after PUSH_OUT_SECONDS of
    idleness.
    """
    counts: dict[str, int] = {}
    for item in held:
        counts[item.organization] = counts.get(item.organization, 0) + 1
    weight = dict(counts)
    weight[organization] = weight.get(organization, 0) + 1
    idle = [entry for entry in held if not entry.is_busy]
    allowed = [
        entry
        for entry in idle
        if entry.organization == organization
        or counts[entry.organization] > 1
        or now - entry.used_at > PUSH_OUT_SECONDS
    ]
    if not allowed:
        return None
    return max(allowed, key=lambda entry: (weight[entry.organization], now - entry.used_at)).key
