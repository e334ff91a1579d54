"""A company whose studies a test runs: it takes and ends the tasks of points, and advances as the relay does."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Task
from mecapy_platform.services.studies.due import DueStudies
from support import factories
from support.platform.api_platform import ApiPlatform
from support.worked import Worked, failed, work

BARS = [{"diameter": f"{10 + number} mm"} for number in range(12)]


def stress_of(point: int) -> Worked:
    return Worked(result={"stress": point * 1.0})


class Company:
    """One organization with an administrator and a package; it ends the tasks of its points itself."""

    def __init__(self, platform: ApiPlatform) -> None:
        self.platform, self.slug = platform, factories.unique()
        self.actor: Actor = platform.actor(f"ann-{self.slug}", self.slug)
        self.organization_id = self.actor.organization.organization_id
        self.client: httpx2.Client = platform.client(f"ann-{self.slug}", self.slug, organization=self.slug)
        self.package = factories.ready_package(platform.worker_database, self.organization_id, self.actor.user_id)

    def asked(self, points: list[Any], **options: Any) -> dict[str, Any]:
        design = {"kind": "list", "points": points}
        return {"name": "bars", "package": "bolts", "function": "size", "design": design, "options": options}

    def study(self, points: list[Any] = BARS, **options: Any) -> dict[str, Any]:
        answer = self.client.post("/studies", json=self.asked(points, **options))
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def look(self, study: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/studies/{study['id']}").json()
        return found

    def do(self, study: Mapping[str, Any], act: str, status: int = 200) -> dict[str, Any]:
        answer = self.client.post(f"/studies/{study['id']}/{act}")
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def queued(self, study: Mapping[str, Any]) -> list[tuple[UUID, int]]:
        with self.platform.worker_database.transaction() as session:
            query = select(Task.id, Task.point).where(Task.study_id == UUID(study["id"]), Task.state == "queued")
            return [(task_id, point or 0) for task_id, point in session.execute(query.order_by(Task.point))]

    def end(self, study: Mapping[str, Any], how: Callable[[int], Worked] = stress_of) -> int:
        """End every queued task of the study's points. Returns how many there were."""
        queued = self.queued(study)
        assert work(self.platform.worker_database, {task_id: how(point) for task_id, point in queued}) == len(queued)
        return len(queued)

    def advance(self) -> bool:
        told = list[Lane]()
        DueStudies(self.platform.worker_database, self.platform.settings.queue_rules, told.extend).advance_lost()
        return bool(told)

    def run_out(self, study: Mapping[str, Any], how: Callable[[int], Worked] = stress_of) -> dict[str, Any]:
        while self.end(study, how):
            self.advance()
        return self.look(study)


def numbers(study: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(study[name] for name in ("points", "waiting", "running", "completed", "failed", "cancelled"))


def failing(*points: int) -> Callable[[int], Worked]:
    def how(point: int) -> Worked:
        return failed(f"Bar {point % 2} is too thin.") if point in points else stress_of(point)

    return how


class DyingDatabase(Database):
    """Its connection ends where a transaction would commit."""

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
            session.execute(select(func.pg_terminate_backend(func.pg_backend_pid())))
