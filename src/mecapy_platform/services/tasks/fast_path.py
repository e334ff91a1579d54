"""The fast path of a submit and of a look.

One statement for all callers of a moment, each in its own scope of row-level security.

It takes only what services/tasks/submit has accepted in the same form a moment ago and what needs nothing else looked
up. Whatever it does not take, or what does not come out as expected, takes the full path, which alone says why it is
refused.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_submit
from mecapy_platform.core.ids import new_id
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.states import VersionStatus
from mecapy_platform.db.fast_path import APP_STATEMENTS
from mecapy_platform.db.statement_batcher import StatementBatcher
from mecapy_platform.db.tables import Organization
from mecapy_platform.db.wire import AsyncWire, Row
from mecapy_platform.services.tasks.inserting import own, shared
from mecapy_platform.services.tasks.read import TaskView
from mecapy_platform.services.tasks.requests import TaskRequest
from mecapy_platform.services.tasks.submit import columns_of

KNOWN_SECONDS = 10.0
KNOWN_MOST = 5000
Scope = tuple[UUID, ...]


@dataclass(frozen=True)
class Known:
    """What a name meant to an actor when the organizations' catalogs stood at `catalog`."""

    view: TaskView
    catalog: int
    until: float


@dataclass(frozen=True)
class Draft:
    """A task that may be submitted by the fast path: its columns, and what it runs."""

    id: UUID
    columns: Mapping[str, Any]
    known: Known


class FastTasks:
    """One for an API process, used inside its event loop."""

    def __init__(self, database_url: str, rules: QueueRules) -> None:
        self._known: OrderedDict[object, Known] = OrderedDict()
        limit = str(rules.organization_max_queued).encode()
        self._submits = StatementBatcher[datetime](
            AsyncWire(database_url, APP_STATEMENTS), "submit", write=_groups, read=_created, parameters=(limit,)
        )
        self._looks = StatementBatcher[dict[str, Any]](
            AsyncWire(database_url, APP_STATEMENTS), "tasks", write=_questions, read=_found
        )

    async def close(self) -> None:
        await self._submits.close()
        await self._looks.close()

    def draft(self, actor: Actor, scope: Scope, request: TaskRequest) -> Draft | None:
        """None: it must take the full path. Raises MecapyError where the full path would raise one too."""
        key = _key(actor, scope, request)
        known = self._known.get(key)
        if known is None or known.until < time.monotonic():
            self._known.pop(key, None)
            return None
        view = known.view
        require_submit(actor, view.package.organization_id)
        return Draft(new_id(), columns_of(actor, request, (view.function, view.version, view.package), {}), known)

    def remember(self, actor: Actor, scope: Scope, request: TaskRequest, view: TaskView, catalog: int | None) -> None:
        """Keep what the full path found, where the fast path could have taken it.

        `catalog` was read before anything else.
        """
        if (
            catalog is None
            or request.files
            or view.version.status != VersionStatus.READY
            or view.function.options.get("needs")
        ):
            return
        self._known[_key(actor, scope, request)] = Known(view, catalog, time.monotonic() + KNOWN_SECONDS)
        while len(self._known) > KNOWN_MOST:
            self._known.popitem(last=False)

    async def submit(self, actor: Actor, scope: Scope, request: TaskRequest, draft: Draft) -> datetime | None:
        """When the task was made; None when it was not, and the full path must say why. Raises DatabaseError."""
        created = await self._submits.ask({"actor": actor, "scope": scope, "draft": draft})
        if created is None:
            self._known.pop(_key(actor, scope, request), None)
        return created

    async def look(self, actor: Actor, scope: Scope, task_id: UUID) -> dict[str, Any] | None:
        """A task that has ended, as the actor may see it; None for all others. Raises DatabaseError."""
        return await self._looks.ask({"actor": actor, "scope": scope, "id": task_id})


def catalog_of(session: Session, actor: Actor) -> int | None:
    """Grows with every change of what a name may mean to the actor.

    The fast path compares it in the statement that submits.
    """
    query = select(func.sum(Organization.catalog_revision)).where(Organization.id.in_(actor.organization_ids))
    found = session.scalar(query)
    return None if found is None else int(found)


def _key(actor: Actor, scope: Scope, request: TaskRequest) -> object:
    return (actor, scope, request.package, request.package_id, request.version, request.function)


def _groups(questions: Sequence[Mapping[str, Any]]) -> object:
    """Tasks of one caller and one function share a group; the order inside is the order of arrival."""
    groups: dict[object, dict[str, Any]] = {}
    for question in questions:
        actor, scope, draft = question["actor"], question["scope"], question["draft"]
        columns = draft.columns
        key = (actor, scope, columns["function_id"], draft.known.catalog)
        group = groups.get(key)
        if group is None:
            group = groups[key] = {
                **shared(columns),
                "scope": ",".join(str(organization_id) for organization_id in scope),
                "visible": actor.organization_ids,
                "catalog": draft.known.catalog,
                "tasks": [],
            }
        group["tasks"].append(own(draft.id, columns))
    return list(groups.values())


def _created(questions: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> list[datetime | None]:
    made = {
        (task_id or b"").decode(): datetime.fromisoformat((created or b"").decode()).astimezone(UTC)
        for task_id, created in rows
    }
    return [made.get(str(question["draft"].id)) for question in questions]


def _questions(questions: Sequence[Mapping[str, Any]]) -> object:
    return [
        {
            "place": place,
            "scope": ",".join(str(item) for item in question["scope"]),
            "visible": [str(organization_id) for organization_id in question["actor"].organization_ids],
            "user_id": str(question["actor"].user_id),
            "id": str(question["id"]),
        }
        for place, question in enumerate(questions)
    ]


def _found(questions: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> list[dict[str, Any] | None]:
    found: dict[int, dict[str, Any]] = {int(place or b"-1"): json.loads(task or b"{}") for place, task in rows}
    return [found.get(place) for place in range(len(questions))]
