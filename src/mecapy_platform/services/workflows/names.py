"""Names of functions and workflows as documents write them, and the ids behind them.

`owner/package:function@version` and `owner/workflow@number`; without a version the newest is meant.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.states import VersionStatus
from mecapy_platform.db.tables import Function, Organization, Package, PackageVersion
from mecapy_platform.db.workflow_tables import Workflow, WorkflowVersion
from mecapy_platform.services.packages.read import may_see as may_see_package
from mecapy_platform.services.workflows.visibility import effective, may_see, shown

PERSONAL = "user:"


@dataclass(frozen=True)
class Name:
    """A name in its parts; `function` None: of a workflow."""

    owner: str
    thing: str
    function: str | None
    version: str | None


def parsed(text: str) -> Name | None:
    """None for what has not the form of a name."""
    owner, slash, rest = text.partition("/")
    rest, _, version = rest.partition("@")
    thing, colon, function = rest.partition(":")
    if not (owner and slash and thing) or (colon and not function):
        return None
    return Name(owner, thing, function if colon else None, version or None)


def ids_of_functions(session: Session, actor: Actor, texts: Iterable[str]) -> dict[str, UUID]:
    """By name, of those that the caller may use; what is not there is left out."""
    names = {text: name for text in texts if (name := parsed(text)) is not None and name.function is not None}
    query = _functions(actor).where(
        Organization.slug.in_(_owners(names.values())),
        Package.name.in_({name.thing for name in names.values()}),
        Function.name.in_({str(name.function) for name in names.values()}),
        Package.archived_at.is_(None),
        PackageVersion.status != VersionStatus.ERROR,
    )
    found: dict[Name, UUID] = {}
    for row in session.execute(query.order_by(PackageVersion.created_at, Function.id)):
        if may_see_package(actor, row.Package):
            name = Name(row.slug.removeprefix(PERSONAL), row.Package.name, row.name, row.version)
            found[name] = found[Name(name.owner, name.thing, name.function, None)] = row.id
    return {text: found[name] for text, name in names.items() if name in found}


def names_of_functions(session: Session, actor: Actor, ids: Iterable[UUID]) -> dict[UUID, str]:
    """By id, of those that the caller may see."""
    rows = session.execute(_functions(actor).where(Function.id.in_(list(ids)))).all()
    return {
        row.id: f"{row.slug.removeprefix(PERSONAL)}/{row.Package.name}:{row.name}@{row.version}"
        for row in rows
        if may_see_package(actor, row.Package)
    }


def ids_of_workflows(session: Session, actor: Actor, texts: Iterable[str]) -> dict[str, UUID]:
    """As ids_of_functions. A version is a whole number."""
    names = {text: name for text in texts if (name := parsed(text)) is not None and name.function is None}
    query = _workflows(actor).where(
        Organization.slug.in_(_owners(names.values())),
        Workflow.slug.in_({name.thing for name in names.values()}),
        Workflow.archived_at.is_(None),
    )
    found: dict[Name, UUID] = {}
    for version_id, name in _visible(session, actor, query):
        found[name] = found[Name(name.owner, name.thing, None, None)] = version_id
    return {text: found[name] for text, name in names.items() if name in found}


def names_of_workflows(session: Session, actor: Actor, ids: Iterable[UUID]) -> dict[UUID, str]:
    rows = _visible(session, actor, _workflows(actor).where(WorkflowVersion.id.in_(list(ids))))
    return {version_id: f"{name.owner}/{name.thing}@{name.version}" for version_id, name in rows}


def _owners(names: Iterable[Name]) -> set[str]:
    owners = {name.owner for name in names}
    return owners | {PERSONAL + owner for owner in owners}


def _functions(actor: Actor) -> "Select[UUID, str, str, Package, str]":
    return (
        select(Function.id, Function.name, PackageVersion.version, Package, Organization.slug)
        .join(PackageVersion, PackageVersion.id == Function.package_version_id)
        .join(Package, Package.id == PackageVersion.package_id)
        .join(Organization, Organization.id == Package.organization_id)
        .where(Function.organization_id.in_(actor.organization_ids))
    )


def _workflows(actor: Actor) -> "Select[UUID, int, Workflow, str]":
    return (
        select(WorkflowVersion.id, WorkflowVersion.number, Workflow, Organization.slug)
        .join(Workflow, Workflow.id == WorkflowVersion.workflow_id)
        .join(Organization, Organization.id == Workflow.organization_id)
        .where(WorkflowVersion.organization_id.in_(actor.organization_ids))
        .order_by(WorkflowVersion.number)
    )


def _visible(session: Session, actor: Actor, query: "Select[UUID, int, Workflow, str]") -> list[tuple[UUID, Name]]:
    rows = session.execute(query).all()
    visibilities = effective(session, [row.id for row in rows])
    return [
        (row.id, Name(row.slug.removeprefix(PERSONAL), row.Workflow.slug, None, str(row.number)))
        for row in rows
        if may_see(actor, row.Workflow, shown(visibilities, row.id))
    ]
