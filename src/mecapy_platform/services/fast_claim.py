"""The fast path of a claim: one statement when the next tasks fit as they come.

Where one does not, services/claims chooses.
"""

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.db import queue
from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.db.session import Database
from mecapy_platform.db.wire import Wire
from mecapy_platform.services.claims import RESERVED_FOR_HIGH_PRIORITY_MB, Claim, Worker
from mecapy_platform.services.unread_claims import Unread, UnreadClaims

log = logging.getLogger(__name__)
KNOWN_FUNCTIONS = 500


@dataclass(frozen=True)
class Taken:
    """What a claim took: what can run, and what nobody could read, which `settle` gives back after the commit."""

    claims: list[Claim]
    unread: list[Unread]


class FastClaim:
    """Of one lane.

    Remembers what it has read of functions, which no longer change once a task of theirs can be claimed.
    """

    def __init__(self, wire: Wire, database: Database, worker: Worker, rules: QueueRules, lane: Lane) -> None:
        self._wire, self._database, self._worker, self._rules, self._lane = wire, database, worker, rules, lane
        self._facts: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._unread = UnreadClaims(database, rules)
        self.settle, self.give_back_unread = self._unread.settle, self._unread.give_back
        self.is_possible = lane is not Lane.LONG_RUNNING  # its throttle looks at all nodes

    @contextmanager
    def claim(self, slots: int, packs: int = 0) -> Iterator[list[Claim] | None]:
        """Up to `slots` tasks, `packs` of them that carry calls.

        None when one of the next does not fit, or stands against a quota, so that somebody must choose.

        The claim is committed when the block is left; until then nobody else can see it. Then what could not be read
        of it is given back.
        """
        if not self.is_possible:
            yield None
            return
        with self._wire.rows_before_commit("fast_claim", *self.asked(slots, packs)) as ((verdict, claims),):
            taken = self.read(claims)
            yield None if verdict == b"pick" else taken.claims
        self.settle(taken.unread)

    def asked(self, slots: int, packs: int = 0) -> tuple[bytes, ...]:
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
            str(packs).encode(),
        )

    def read(self, claims: bytes | None) -> Taken:
        """What a claim answered; from any thread. Whoever asks calls `settle` once the claim is committed."""
        taken = Taken([], [])
        for claimed in json.loads(claims or b"[]"):
            token = UUID(claimed["token"])
            try:
                taken.claims.append(self._read(claimed))
            except DatabaseError as error:
                log.warning("the function of task %s cannot be read: %s", claimed["task_id"], error.detail)
                taken.unread.append(Unread(token, is_damaged=False))
            except (LookupError, TypeError, ValueError):
                log.exception("the function of task %s is damaged", claimed["task_id"])
                taken.unread.append(Unread(token, is_damaged=True))
        return taken

    def _read(self, claimed: dict[str, Any]) -> Claim:
        facts = self._facts_of(claimed["function_id"])
        for name in ("task_id", "organization_id", "token", "run_id", "study_id"):
            claimed[name] = None if claimed[name] is None else UUID(claimed[name])
        claimed["timeout_seconds"] = float(claimed["timeout_seconds"])
        for call in claimed["calls"] or ():
            call["facts"] = self._facts_of(call["function_id"])
        return Claim.read({**claimed, **facts})

    def _facts_of(self, function_id: str) -> dict[str, Any]:
        with self._lock:
            found = self._facts.get(function_id)
        if found is None:
            with self._database.transaction() as session:
                row = session.scalars(queue.FACTS, {"function_id": function_id}).one_or_none()
            if row is None:
                raise LookupError(f"there is no function {function_id}")
            found = dict(row)
            found["version_id"] = UUID(found["version_id"])
            with self._lock:
                self._facts[function_id] = found
                while len(self._facts) > KNOWN_FUNCTIONS:
                    self._facts.popitem(last=False)
        return found
