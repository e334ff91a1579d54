"""Remembers what calls of a version were made ready with, so that the next call need not ask for it step by step."""

import threading
from collections import OrderedDict
from pathlib import Path

from mecapy_platform.sandbox.base import Environment
from mecapy_platform.services.claims import Claim

KNOWN_MOST = 500


class AtHand:
    """Packages and environments of this node that were used lately. Bounded; from any thread."""

    def __init__(self, most: int = KNOWN_MOST) -> None:
        self._most = most
        self._known: OrderedDict[tuple[object, ...], tuple[Path, Environment]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, claim: Claim, package: Path, environment: Environment) -> None:
        with self._lock:
            self._known[_used_by(claim)] = (package, environment)
            self._known.move_to_end(_used_by(claim))
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def find(self, claim: Claim) -> tuple[Path, Environment] | None:
        """What a call like this used, as long as it still lies there."""
        with self._lock:
            known = self._known.get(_used_by(claim))
        if known is None:
            return None
        package, environment = known
        folders = (package, environment.site_packages, environment.vetted)
        return known if all(folder is None or folder.is_dir() for folder in folders) else None


def _used_by(claim: Claim) -> tuple[object, ...]:
    return (claim.archive_sha256, claim.runtime, claim.interpreter, claim.environment_digest, claim.requirements_lock)
