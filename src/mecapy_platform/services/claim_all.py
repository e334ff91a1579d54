"""The short way of a claim: one statement when the next tasks fit as they come. Where one does not, services/claims chooses."""

import json
from collections import OrderedDict
from typing import Any
from uuid import UUID, uuid4

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.wire import Wire
from mecapy_platform.services.claims import KEPT_FOR_SHORT_MB, Claim, Worker
from mecapy_platform.settings import Settings

KNOWN_FUNCTIONS = 500


class ClaimAll:
    """Of one engine's thread. Remembers what it has read of functions, which no longer change once a task of theirs can be claimed."""

    def __init__(self, wire: Wire, worker: Worker, settings: Settings) -> None:
        self._wire, self._worker, self._settings = wire, worker, settings
        self._facts: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def claim(self, lane: Lane, slots: int) -> list[Claim] | None:
        """Up to `slots` tasks; None when one of the next does not fit, or stands against a quota, so that somebody must choose."""
        if lane is Lane.LONG_RUNNING:
            return None  # its throttle looks at all nodes
        settings, worker = self._settings, self._worker
        ((verdict, claims),) = self._wire.call(
            "claim_all",
            lane.encode(),
            str(slots).encode(),
            ("{" + ",".join(str(uuid4()) for _ in range(slots)) + "}").encode(),
            worker.node.encode(),
            worker.process.encode(),
            worker.backend.encode(),
            str(settings.lease_seconds).encode(),
            str(KEPT_FOR_SHORT_MB).encode(),
            b"t" if lane is Lane.HIGH_PRIORITY else b"f",
            str(settings.organization_max_running).encode(),
        )
        if verdict == b"pick":
            return None
        return [self._read(claimed) for claimed in json.loads(claims or b"[]")]

    def _read(self, claimed: dict[str, Any]) -> Claim:
        facts = self._facts_of(claimed.pop("function_id"))
        for name in ("task_id", "organization_id", "token"):
            claimed[name] = UUID(claimed[name])
        claimed["timeout_seconds"] = float(claimed["timeout_seconds"])
        return Claim(**claimed, **facts)

    def _facts_of(self, function_id: str) -> dict[str, Any]:
        found = self._facts.get(function_id)
        if found is None:
            ((text,),) = self._wire.call("facts", function_id.encode())
            found = json.loads(text or b"{}")
            found["version_id"] = UUID(found["version_id"])
            self._facts[function_id] = found
            while len(self._facts) > KNOWN_FUNCTIONS:
                self._facts.popitem(last=False)
        return found
