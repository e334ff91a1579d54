"""Whether a run may go on for its user, and start a function: judged when a node starts, by what holds then."""

import time
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.access import Role
from mecapy_platform.core.errors import ConflictError, ForbiddenError, NotFoundError
from mecapy_platform.core.states import VersionStatus
from mecapy_platform.db import runs as statements
from mecapy_platform.services.places import check_fits
from mecapy_platform.services.runs.loading import LoadedFunction

SUBMITTERS = frozenset({Role.ADMIN, Role.USER})
HELD = (
    "The run's user may no longer start anything in this organization; an administrator adopts the run or cancels it."
)

FITTING_MOST = 2_000
FITTING_SECONDS = 10.0
_fitting: dict[UUID, float] = {}  # functions that a worker could run just now, and until when that is believed


class Rights:
    """Of the user of a run, each organization looked up once."""

    def __init__(self, session: Session, run: Any) -> None:
        self._session, self._user_id = session, run.user_id
        self._may_submit: dict[UUID, bool] = {run.organization_id: run.role in SUBMITTERS}

    def may_submit(self, organization_id: UUID) -> bool:
        if organization_id not in self._may_submit:
            asked = {"organization_id": organization_id, "user_id": self._user_id}
            self._may_submit[organization_id] = self._session.scalar(statements.ROLE, asked) in SUBMITTERS
        return self._may_submit[organization_id]

    def check(self, loaded: LoadedFunction | None) -> LoadedFunction:
        """Raises MecapyError where the user may not start this function now."""
        if loaded is None or not self.may_submit(loaded.package.organization_id):
            raise NotFoundError(
                "function_not_found", "The function is no longer there, or the run's user cannot see it."
            )
        package, version = loaded.package, loaded.version
        if package.visibility == "private" and package.owner_id != self._user_id:
            raise ForbiddenError(
                "package_private", f"Package {package.name} is private to its owner; ask them to make it internal."
            )
        if package.archived_at is not None:
            raise ConflictError(
                "package_archived", f"Package {package.name} is archived; its owner can bring it back with unarchive."
            )
        if version.status == VersionStatus.ERROR:
            raise ConflictError(
                "version_broken", f"Version {version.version} of {package.name} did not build: {version.error_message}"
            )
        self._check_fits(loaded)
        return loaded

    def _check_fits(self, loaded: LoadedFunction) -> None:
        function_id, now = loaded.function.id, time.monotonic()
        if _fitting.get(function_id, 0.0) > now:
            return
        check_fits(self._session, loaded.function, loaded.version)
        if len(_fitting) >= FITTING_MOST:
            _fitting.clear()
        _fitting[function_id] = now + FITTING_SECONDS
