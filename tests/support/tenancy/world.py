"""Everything an organization can have, made for two of them.

And the API with either fence between tenants taken away.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
from fastapi import FastAPI
from sqlalchemy import func, select

from mecapy_platform.api.deps import get_filter
from mecapy_platform.core.access import Membership, Role
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Attempt, LaneShare, Organization, StoredValue, Upload
from mecapy_platform.db.workflow_tables import (
    Call,
    RunNode,
    Schedule,
    ScheduleFiring,
    Study,
    Workflow,
    WorkflowRun,
    WorkflowVersion,
    WorkflowVersionUse,
)
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services.identity import Identity
from mecapy_platform.storage.keys import output_key, upload_key
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform

APPROVAL = {"nodes": [{"node_key": "n", "node_kind": "approval"}], "edges": []}
DECK = b"*HEADING\nsecret of the owner\n"


@dataclass
class World:
    """One organization with its administrator, a colleague, and something in every table.

    `marks` are the texts that betray it.

    `served_by` is the application that its administrator speaks to, one of several over the same database.
    """

    platform: ApiPlatform
    slug: str
    organization_id: UUID
    personal_id: UUID
    user_id: UUID
    colleague_id: UUID
    package: factories.ReadyPackage
    queued: str = ""
    ended: str = ""
    upload: str = ""
    served_by: ApiPlatform | None = None
    marks: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return f"ann-{self.slug}"

    def token(self) -> str:
        return self.platform.token(self.name, self.slug)

    def at(self, served_by: ApiPlatform) -> "World":
        return replace(self, served_by=served_by)

    def client(self, **headers: str) -> httpx2.Client:
        """The administrator, signed in."""
        url = (self.served_by or self.platform).url
        return httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {self.token()}", **headers}, timeout=60)

    def colleague(self, name: str, *roles: str) -> httpx2.Client:
        return self.platform.client(f"{name}-{self.slug}", self.slug, roles=roles)

    def new_package(self, *, visibility: str = "internal", name: str | None = None) -> factories.ReadyPackage:
        chosen = name or factories.unique("p")
        made = factories.ready_package(
            self.platform.worker_database, self.organization_id, self.user_id, name=chosen, visibility=visibility
        )
        self.marks |= {str(made.package_id), str(made.version_id), made.name, *map(str, made.functions.values())}
        return made

    def new_task(self, **changes: Any) -> str:
        body = {
            "package": self.package.name,
            "function": "size",
            "inputs": {"diameter": "12 mm"},
            "name": f"{self.slug} task",
            **changes,
        }
        answer = self.client().post("/tasks", json=body, headers={"Idempotency-Key": uuid4().hex})
        assert answer.status_code == 201, answer.text
        self.marks.add(answer.json()["id"])
        return str(answer.json()["id"])

    def new_ended_task(self) -> str:
        """Ended as a worker ends it: result, log, an attempt, and a stored file."""
        task_id = UUID(self.new_task())
        key = output_key(self.organization_id, task_id, 1, "artifact", "report.txt")
        self.platform.storage.put(key, BytesIO(DECK))
        with self.platform.worker_database.transaction() as session:
            session.add(
                Attempt(
                    organization_id=self.organization_id, task_id=task_id, number=1, token=uuid4(), node="n",
                    worker="w", backend="fake",
                    cpu=1, memory_mb=512, lane="default", lease_until=func.now(), ended_at=func.now(),
                    state="completed",
                )
            )  # fmt: skip
        files = (("artifact", "report.txt", "report.txt", key, len(DECK)),)
        factories.end_task(
            self.platform.worker_database, task_id, factories.End(files=files, log=(("stdout", f"{self.slug} log\n"),))
        )
        return str(task_id)

    def new_upload(self) -> str:
        upload_id = uuid4()
        key = upload_key(self.organization_id, upload_id)
        stored = self.platform.storage.put(key, BytesIO(DECK))
        with self.platform.worker_database.transaction() as session:
            session.add(
                Upload(
                    id=upload_id, organization_id=self.organization_id, user_id=self.user_id,
                    function_id=self.package.functions["solve"],
                    var_name="deck", filename="deck.inp", extension="inp", size_bytes=stored.size_bytes,
                    sha256=stored.sha256, key=key,
                )
            )  # fmt: skip
            session.add(
                StoredValue(
                    organization_id=self.organization_id, key=key, size_bytes=stored.size_bytes, sha256="0" * 64
                )
            )
        self.marks.add(str(upload_id))
        return str(upload_id)

    def new_workflow(self) -> None:
        """A workflow that was run, a study, a schedule that has fired: a row in each of their tables."""
        own = {"organization_id": self.organization_id}
        ids = {name: uuid4() for name in ("workflow", "version", "run", "node", "study", "schedule")}
        function_id = self.package.functions["size"]
        with self.platform.worker_database.transaction() as session:
            for rows in (
                [Workflow(id=ids["workflow"], owner_id=self.user_id, slug="w", name="w", **own)],
                [
                    WorkflowVersion(
                        id=ids["version"], workflow_id=ids["workflow"], number=1, graph=APPROVAL,
                        created_by=self.user_id, **own,
                    )
                ],
                [
                    WorkflowVersionUse(workflow_version_id=ids["version"], function_id=function_id, **own),
                    WorkflowRun(
                        id=ids["run"], user_id=self.user_id, workflow_id=ids["workflow"], plan={},
                        workflow_version_id=ids["version"], visibility_snapshot="private", **own,
                    ),
                ],
                [RunNode(id=ids["node"], run_id=ids["run"], place=0, key="n", kind="approval", **own)],
                [
                    Call(run_id=ids["run"], node_id=ids["node"], function_id=function_id, **own),
                    Study(id=ids["study"], user_id=self.user_id, name="s", function_id=function_id, design={}, **own),
                    Schedule(
                        id=ids["schedule"], user_id=self.user_id, name="s", kind="task", target={}, cron="0 0 * * *",
                        time_zone="UTC", **own,
                    ),
                ],
                [ScheduleFiring(schedule_id=ids["schedule"], due_at=func.now(), outcome="made", **own)],
            ):  # fmt: skip
                session.add_all(rows)
                session.flush()
            session.get_one(RunNode, ids["node"]).state = "waiting"
        self.marks |= {str(made) for made in ids.values()}

    def new_organization(self) -> str:
        """One made over the API, empty, so that it can be deleted."""
        slug = factories.unique()
        answer = self.client().post("/organizations", json={"slug": slug, "display_name": f"{self.slug} made this"})
        assert answer.status_code == 201, answer.text
        return slug


def make(platform: ApiPlatform) -> World:
    slug = factories.unique()
    ann = platform.actor(f"ann-{slug}", slug)
    bob = platform.actor(f"bob-{slug}", slug)
    organization_id = ann.organization.organization_id
    personal_id = next(item.organization_id for item in ann.visible if item.is_personal)
    package = factories.ready_package(
        platform.worker_database, organization_id, ann.user_id, name=factories.unique("bolts")
    )
    world = World(platform, slug, organization_id, personal_id, ann.user_id, bob.user_id, package)
    world.marks |= {slug, str(organization_id), str(personal_id), str(ann.user_id), str(bob.user_id), package.name}
    world.marks |= {str(package.package_id), str(package.version_id), *map(str, package.functions.values())}
    world.queued, world.ended, world.upload = world.new_task(), world.new_ended_task(), world.new_upload()
    world.new_workflow()
    with platform.worker_database.transaction() as session:
        session.add(LaneShare(lane="default", organization_id=organization_id))
    return world


@dataclass(frozen=True)
class Fenced:
    """Four applications over one database: as it is, with either fence alone, and with none."""

    both: ApiPlatform
    filters_alone: ApiPlatform
    security_alone: ApiPlatform
    none: ApiPlatform


@contextmanager
def fenced(server: Postgres, directory: Path) -> Iterator[Fenced]:
    """Row-level security is taken away by the role that it does not bind.

    The filters by a dependency that lets every organization in.
    """
    with ExitStack() as stack:
        both = stack.enter_context(api_platform(server, directory))
        same: dict[str, Any] = {"public_url": both.url, "issuers": (both.issuer,)}

        def let_all_in(app: FastAPI) -> None:
            app.dependency_overrides[get_filter] = lambda: lambda identity: _everybody_s(both.worker_database, identity)

        def serve(**changes: Any) -> ApiPlatform:
            return stack.enter_context(api_platform(server, directory, **same, **changes))

        filters_alone = serve(database_url=server.worker_url)
        security_alone = serve(prepare=let_all_in)
        yield Fenced(both, filters_alone, security_alone, serve(database_url=server.worker_url, prepare=let_all_in))


def _everybody_s(database: Database, identity: Identity) -> tuple[Membership, ...]:
    """The user's own memberships, then every other organization, as its administrator."""
    own = {membership.organization_id for membership in identity.memberships}
    with database.transaction() as session:
        rows = session.scalars(select(Organization)).all()
    others = [Membership(row.id, row.slug, row.is_personal, Role.ADMIN) for row in rows if row.id not in own]
    return (*identity.memberships, *others)
