"""Published look-ups by name."""

from typing import Annotated

from fastapi import APIRouter, Query

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import PublishedCaller
from mecapy_platform.api.published.models import PackageFound
from mecapy_platform.api.published.workflow_models import WorkflowFound
from mecapy_platform.services import registry

router = APIRouter(prefix="/registry/lookup", tags=["registry"])
Name = Annotated[str, Query(max_length=255)]
Version = Annotated[str | None, Query(max_length=255)]


@router.get("/package", operation_id="lookup_package", responses=problems())
def lookup_package(caller: PublishedCaller, owner: Name, name: Name, version: Version = None) -> PackageFound:
    """The package that `owner/name[:version]` means; the owner is an organization or a user."""
    with caller.session() as session:
        found = registry.lookup_package(session, caller.actor, owner=owner, name=name, version=version)
    return PackageFound(package_id=str(found.package_id), name=found.name, owner=found.owner, version=found.version)


@router.get("/workflow", operation_id="lookup_workflow", responses=problems())
def lookup_workflow(caller: PublishedCaller, owner: Name, slug: Name, version: Version = None) -> WorkflowFound:
    """The workflow that `owner/slug[:version]` means; the owner is an organization or a user."""
    with caller.session() as session:
        found = registry.lookup_workflow(session, caller.actor, owner=owner, slug=slug, version=version)
    return WorkflowFound(workflow_id=str(found.workflow_id), slug=found.slug, owner=found.owner, version=found.version)
