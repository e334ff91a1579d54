"""Whether this node can run tenants' code now: each backend is tested at start and after every doubt, until it holds.

No verdict is for ever. A backend that does not hold stops what would run on it, says why, and is tried again.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from mecapy_platform.core.errors import MecapyError, OutageError
from mecapy_platform.core.living import LivingThread
from mecapy_platform.sandbox.base import Attended, Sandbox, SelfTest

log = logging.getLogger(__name__)
FIRST_SECONDS = 0.25
WAIT_MAX_SECONDS = 10.0  # after an outage nobody waits much longer than this
PART_MAX_SECONDS = 300.0  # between tests of what holds but for a part
QUIET_SECONDS = 10.0  # between tests for a doubt that is no outage


class BackendWatch(LivingThread):
    """One backend. `refusal` says why nothing may run on it, None when it holds.

    `changed` is called when that changes.
    """

    def __init__(self, sandbox: Sandbox, node: str, changed: Callable[[], None]) -> None:
        super().__init__(f"self-test-{sandbox.name}", self._watch)
        self.sandbox = sandbox
        self.refusal: str | None = f"The {sandbox.name} sandbox on {node} has not been tested yet."
        self._node = node
        self._changed = changed
        self._doubted = threading.Event()
        self._doubted.set()
        self._ended = threading.Event()
        self._tested_at = float("-inf")
        self._life = ""  # of what starts runs, when it was last found to hold

    def doubt(self, error: MecapyError) -> None:
        """A start failed. An outage stops everything at once; anything else only leads to a test."""
        if isinstance(error, OutageError):
            self._refuse(f"The {self.sandbox.name} sandbox on {self._node} is away: {error.message}")
        elif time.monotonic() - self._tested_at < QUIET_SECONDS:
            return
        self._doubted.set()

    def is_outage(self) -> bool:
        """A run died without a word: whether what had started it is away, or was started again since the last test."""
        if not isinstance(self.sandbox, Attended):
            return self.refusal is not None
        try:
            is_same = self.sandbox.life() == self._life
        except OutageError as error:
            self.doubt(error)
            return True
        return self.refusal is not None or not is_same

    def end(self) -> None:
        self._ended.set()
        self._doubted.set()
        self.hurry()

    def _watch(self) -> None:
        wait_seconds = FIRST_SECONDS
        part_seconds = WAIT_MAX_SECONDS
        is_whole = True
        while True:
            if self.refusal is None:
                self._doubted.wait(None if is_whole else part_seconds)
            if self._ended.is_set():
                return
            self._doubted.clear()
            tested = self._test()
            if tested is None:
                self._ended.wait(wait_seconds)
                wait_seconds = min(WAIT_MAX_SECONDS, wait_seconds * 2)
                continue
            wait_seconds, is_whole = FIRST_SECONDS, tested.is_whole
            part_seconds = WAIT_MAX_SECONDS if is_whole else min(PART_MAX_SECONDS, part_seconds * 2)

    def _test(self) -> SelfTest | None:
        """None: it does not hold, and why is said."""
        try:
            life = self.sandbox.life() if isinstance(self.sandbox, Attended) else ""
            test = self.sandbox.self_test()
        except (MecapyError, OSError) as error:
            self._refuse(f"The {self.sandbox.name} sandbox could not be tested on {self._node}: {error}")
            return None
        finally:
            self._tested_at = time.monotonic()
        if not test.holds:
            failed = "; ".join(
                f"{check.name}: {check.detail}" for check in test.checks if check.required and not check.holds
            )
            self._refuse(
                f"The {self.sandbox.name} sandbox does not hold on {self._node}: {failed}. "
                "`mecapy doctor` says what to do."
            )
            return None
        if self._doubted.is_set():  # an outage began while it was tested
            return None
        self._life = life
        if self.refusal is not None:
            log.info("the %s sandbox holds", self.sandbox.name)
            self.refusal = None
            self._changed()
        return test

    def _refuse(self, why: str) -> None:
        if self.refusal != why:
            log.error("nothing runs until this holds: %s", why)
            self.refusal = why
            self._changed()


class Readiness:
    """All backends of a worker process."""

    def __init__(self, sandboxes: Sequence[Sandbox], node: str, changed: Callable[[], None]) -> None:
        self._watches = {id(sandbox): BackendWatch(sandbox, node, changed) for sandbox in sandboxes}

    def start(self) -> None:
        for watch in self._watches.values():
            watch.start()

    def refusal_of(self, sandbox: Sandbox) -> str | None:
        """Why nothing may run on this backend now."""
        return self._watches[id(sandbox)].refusal

    def doubt(self, sandbox: Sandbox, error: MecapyError) -> None:
        """Something could not be started there."""
        self._watches[id(sandbox)].doubt(error)

    def is_outage(self, sandbox: Sandbox) -> bool:
        """Whether a run that died without a word there died of the node's own fault."""
        return self._watches[id(sandbox)].is_outage()

    def end(self) -> None:
        for watch in self._watches.values():
            watch.end()
