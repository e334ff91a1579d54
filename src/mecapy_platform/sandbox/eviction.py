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
    for one in held:
        counts[one.organization] = counts.get(one.organization, 0) + 1
    weight = dict(counts)
    weight[organization] = weight.get(organization, 0) + 1
    idle = [one for one in held if not one.is_busy]
    allowed = [
        one
        for one in idle
        if one.organization == organization or counts[one.organization] > 1 or now - one.used_at > PUSH_OUT_SECONDS
    ]
    if not allowed:
        return None
    return max(allowed, key=lambda one: (weight[one.organization], now - one.used_at)).key
