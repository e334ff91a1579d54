"""What failed for a reason nobody thought of is left alone for a while, so that it delays no other."""

import time
from dataclasses import dataclass, field
from uuid import UUID

FIRST_SECONDS = 0.5
MOST_SECONDS = 60.0


@dataclass
class Pauses:
    """Of one duty. A pause grows while failures follow each other."""

    _until: dict[UUID, tuple[float, float]] = field(default_factory=dict)

    def holds(self, item: UUID) -> bool:
        return self._until.get(item, (0.0, 0.0))[0] > time.monotonic()

    def failed(self, item: UUID) -> None:
        _, pause = self._until.get(item, (0.0, FIRST_SECONDS))
        self._until[item] = (time.monotonic() + pause, min(MOST_SECONDS, 2 * pause))

    def went_well(self, item: UUID) -> None:
        self._until.pop(item, None)
