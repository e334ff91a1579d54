"""Makes what tests start from: tokens of an in-test issuer, users, packages that are ready, tasks that have ended."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.events import TaskFinished, data_of
from mecapy_platform.core.ids import uuid7
from mecapy_platform.core.states import TaskState
from mecapy_platform.db import queue
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import (
    Artifact,
    Event,
    Function,
    Organization,
    Package,
    PackageVersion,
    Task,
    TaskLog,
    User,
)
from mecapy_platform.embedded.tokens import Person, issue
from mecapy_platform.services.identity import TokenClaims, sign_in

LENGTH = {"type": "Length", "description": "Nominal diameter", "required": True}
FORCE = {"type": "Force", "description": None, "required": False}
DECK = {"type": "File[inp]", "description": None, "required": True}
STRESS = {"type": "Stress", "description": None, "required": True}
REPORT = {"type": "File[csv]", "description": None, "required": True}
SIZE = {"inputs": {"diameter": LENGTH, "load": FORCE}, "outputs": {"stress": STRESS}}
SOLVE = {"inputs": {"deck": DECK}, "outputs": {"report": REPORT}}


@lru_cache
def issuer_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def write_key(path: Path) -> Path:
    """The issuer's public key as a file, for settings.embedded_issuer_key."""
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(issuer_key().public_key().public_bytes(serialization.Encoding.PEM, kind))
    return path


def token(issuer: str, name: str, *organizations: str, roles: tuple[str, ...] = (), seconds: int = 3600) -> str:
    return issue(issuer_key(), issuer, Person(name, organizations, roles), seconds)


def unique(prefix: str = "o") -> str:
    return f"{prefix}-{uuid4().hex[:10]}"


def actor(
    database: Database, name: str, *organizations: str, roles: tuple[str, ...] = (), issuer: str = "urn:test"
) -> Actor:
    """A signed-in user (role mecapy_app), acting in the first organization or the personal one."""
    person = Person(name, organizations, roles)
    claims = TokenClaims(
        issuer, str(person.subject), name, f"{name}@localhost.localdomain", roles, tuple(organizations)
    )
    identity = sign_in(database, claims)
    chosen = next(
        (membership for membership in identity.memberships if membership.slug in organizations), identity.personal
    )
    return Actor(identity.user_id, identity.username, claims.email, roles, chosen, identity.memberships)


@dataclass(frozen=True)
class ReadyPackage:
    package_id: UUID
    version_id: UUID
    functions: Mapping[str, UUID]
    name: str
    organization_id: UUID


def ready_package(worker: Database, organization_id: UUID, owner_id: UUID, **columns: Any) -> ReadyPackage:
    """`package_of` in a transaction of its own (role mecapy_worker)."""
    with worker.transaction() as session:
        return package_of(session, organization_id, owner_id, **columns)


def package_of(
    session: Session,
    organization_id: UUID,
    owner_id: UUID | None = None,
    *,
    name: str = "bolts",
    visibility: str = "internal",
    **version: Any,
) -> ReadyPackage:
    """A package with one version, written past the API; for `version` see `version_of`."""
    package = Package(organization_id=organization_id, owner_id=owner_id or uuid4(), name=name, visibility=visibility)
    session.add(package)
    session.flush()
    return version_of(session, package, **version)


def version_of(
    session: Session,
    package: Package,
    *,
    version: str = "1.2.0",
    functions: Mapping[str, Mapping[str, Any]] | None = None,
    status: str = "ready",
) -> ReadyPackage:
    """A version of a package, built unless `status` says otherwise, with its functions: name -> ports and limits."""
    declared: Mapping[str, Mapping[str, Any]] = functions if functions is not None else {"size": SIZE, "solve": SOLVE}
    made = PackageVersion(
        organization_id=package.organization_id,
        package_id=package.id,
        version=version,
        manifest={
            "version": "1",
            "package": {"name": package.name, "version": version, "tags": ["bolts"]},
            "runtime": {"kind": "python"},
        },
        archive_key=f"org/{package.organization_id}/package/{package.id}/none.zip",
        archive_sha256="0" * 64,
        created_by=package.owner_id,
        status=status,
        runtime="3.11",
        interpreter="3.11.15",
    )
    session.add(made)
    session.flush()
    ids = {}
    for function_name, ports in declared.items():
        function = Function(
            organization_id=package.organization_id,
            package_version_id=made.id,
            name=function_name,
            handler=f"handler:{function_name}",
            inputs=ports.get("inputs"),
            outputs=ports.get("outputs"),
            cpu=1,
            memory_mb=512,
            timeout_seconds=ports.get("timeout_seconds", 60),
            options=ports.get("options", {}),
            checksum="c" * 64,
        )
        session.add(function)
        session.flush()
        ids[function_name] = function.id
    return ReadyPackage(package.id, made.id, ids, package.name, package.organization_id)


def organization_of(session: Session, **columns: Any) -> UUID:
    """An organization with no limit of its own."""
    made = Organization(**{"slug": unique(), "display_name": "made", "limits": {}, **columns})
    session.add(made)
    session.flush()
    return made.id


def see_node(session: Session, name: str = "node", *, tools: Sequence[str] = (), **columns: Any) -> None:
    """A node that takes work, as its heartbeat writes it."""
    usual = {"cpu": 8, "memory_mb": 8192, "disk_free_bytes": 1 << 40, "accepts_work": True, "refusal": None}
    session.execute(queue.SEE_NODE, {"name": name, "tools": json.dumps(tools), **usual, **columns})


def queued_task(
    organization_id: UUID, package_version_id: UUID, function_id: UUID, number: int = 1, **columns: Any
) -> Task:
    """A task that a worker may claim, for a session of the caller's; tasks are ordered by `number`."""
    usual = {
        "id": uuid7(number),
        "user_id": uuid4(),
        "name": "t",
        "lane": "default",
        "rank": 4,
        "inputs": {},
        "inputs_digest": "d",
        "cpu": 1,
        "memory_mb": 512,
        "timeout_seconds": 60,
        "claimable": True,
    }
    where = {
        "organization_id": organization_id,
        "package_version_id": package_version_id,
        "function_id": function_id,
    }
    return Task(**{**usual, **where, **columns})


@dataclass(frozen=True)
class End:
    """How a task is to have ended, with its files: (kind, name, filename, key, content)."""

    state: TaskState = TaskState.COMPLETED
    result: Mapping[str, Any] | None = field(default_factory=lambda: {"stress": 1.0})
    result_key: str | None = None
    error: tuple[str, str] | None = None
    files: tuple[tuple[str, str, str, str, int], ...] = ()
    log: tuple[tuple[str, str], ...] = (("stdout", "hello\n"),)


def end_task(worker: Database, task_id: UUID, end: End | None = None) -> None:
    """End a queued task as a worker would have, and ring the bell."""
    end = end or End()
    ended = TaskFinished(end.state, end.error[0] if end.error else None, 1, 0.25, 0.2, 32.0)
    with worker.transaction() as session:
        task = session.get_one(Task, task_id, with_for_update=True)
        task.state = TaskState.RUNNING
        session.flush()
        task.state, task.claimable, task.hold_reason = end.state, False, None
        task.started_at = task.completed_at = func.clock_timestamp()
        task.runtime_seconds, task.cpu_seconds, task.peak_memory_mb, task.attempts = 0.25, 0.2, 32.0, 1
        task.result = dict(end.result) if end.result is not None else None
        task.result_s3_key = end.result_key
        if end.error:
            task.error_code, task.error_message = end.error
        for kind, name, filename, key, size_bytes in end.files:
            session.add(
                Artifact(
                    organization_id=task.organization_id, task_id=task.id, attempt=1, kind=kind, name=name,
                    filename=filename,
                    key=key, size_bytes=size_bytes, sha256="0" * 64,
                )
            )  # fmt: skip
        for index, (kind, text) in enumerate(end.log):
            session.add(
                TaskLog(
                    task_id=task.id, index=index, organization_id=task.organization_id, attempt=1, kind=kind, text=text
                )
            )
        session.add(
            Event(
                organization_id=task.organization_id,
                task_id=task.id,
                kind="TaskFinished",
                data=data_of(ended),
            )
        )
        session.flush()
        session.execute(queue.NOTIFY, {"key": f"task:{task.id}"})


def user_id(worker: Database, username: str) -> UUID:
    with worker.transaction() as session:
        return session.scalars(select(User.id).where(User.username == username)).one()


MANIFEST = """\
version: "1"
package: {{name: {name}, version: {version}, visibility: {visibility}}}
runtime: {{kind: python, version: "3.11"}}
functions:
  size:
    handler: bolts:size
    inputs: {{diameter: Length}}
    outputs: {{stress: Stress}}
  check:
    handler: bolts:check
"""
HANDLER = "def size(diameter):\n    return {'stress': diameter}\n\n\ndef check(x: float) -> float:\n    return x\n"


def archive(
    name: str = "bolts",
    version: str = "1.0.0",
    *,
    visibility: str = "private",
    manifest: str | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """A zip with a manifest and its code."""
    text = manifest if manifest is not None else MANIFEST.format(name=name, version=version, visibility=visibility)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        made.writestr("mecapy.yml", text)
        for path, content in (files if files is not None else {"bolts.py": HANDLER}).items():
            made.writestr(path, content)
    return target.getvalue()


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def source_of(content: bytes) -> io.BytesIO:
    """As what is put into storage."""
    return io.BytesIO(content)
