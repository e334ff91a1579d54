"""The fast path of a claim: one statement when the next tasks fit as they come.

Where one does not, services/claims chooses.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.db import queue
from mecapy_platform.db.session import Database
from mecapy_platform.db.wire import Wire
from mecapy_platform.services.claims import RESERVED_FOR_HIGH_PRIORITY_MB, Claim, Worker

KNOWN_FUNCTIONS = 500


class FastClaim:
    """Of one lane.

    Remembers what it has read of functions, which no longer change once a task of theirs can be claimed.
    """

    def __init__(self, wire: Wire, database: Database, worker: Worker, rules: QueueRules, lane: Lane) -> None:
        self._wire, self._database, self._worker, self._rules, self._lane = wire, database, worker, rules, lane
        self._facts: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self.is_possible = lane is not Lane.LONG_RUNNING  # its throttle looks at all nodes

    @contextmanager
    def claim(self, slots: int) -> Iterator[list[Claim] | None]:
        """Up to `slots` tasks.

        None when one of the next does not fit, or stands against a quota, so that somebody must choose.

        The claim is committed when the block is left; until then nobody else can see it.
        """
        if not self.is_possible:
            yield None
            return
        with self._wire.rows_before_commit("fast_claim", *self.asked(slots)) as ((verdict, claims),):
            yield None if verdict == b"pick" else self.read(claims)

    def asked(self, slots: int) -> tuple[bytes, ...]:
        """The parameters of a claim of up to `slots` tasks."""
        rules, worker = self._rules, self._worker
        return (
            self._lane.encode(),
            str(slots).encode(),
            ("{" + ",".join(str(uuid4()) for _ in range(slots)) + "}").encode(),
            worker.node.encode(),
            worker.process.encode(),
            worker.backend.encode(),
            str(rules.lease_seconds).encode(),
            str(RESERVED_FOR_HIGH_PRIORITY_MB).encode(),
            b"t" if self._lane is Lane.HIGH_PRIORITY else b"f",
            str(rules.organization_max_running).encode(),
        )

    def read(self, claims: bytes | None) -> list[Claim]:
        """What a claim answered; from any thread."""
        return [self._read(claimed) for claimed in json.loads(claims or b"[]")]

    def _read(self, claimed: dict[str, Any]) -> Claim:
        facts = self._facts_of(claimed["function_id"])
        for name in ("task_id", "organization_id", "token"):
            claimed[name] = UUID(claimed[name])
        claimed["timeout_seconds"] = float(claimed["timeout_seconds"])
        return Claim.read({**claimed, **facts})

    def _facts_of(self, function_id: str) -> dict[str, Any]:
        with self._lock:
            found = self._facts.get(function_id)
        if found is None:
            with self._database.transaction() as session:
                found = dict(session.scalars(queue.FACTS, {"function_id": function_id}).one())
            found["version_id"] = UUID(found["version_id"])
            with self._lock:
                self._facts[function_id] = found
                while len(self._facts) > KNOWN_FUNCTIONS:
                    self._facts.popitem(last=False)
        return found
