"""What documents of workflows need of the platform: their schema, the ids behind names, names of ids, a judgement."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import PublishedCaller
from mecapy_platform.api.published.workflow_models import WorkflowVersionRequest
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.core.workflows.documents import document_schema
from mecapy_platform.core.workflows.graph import MAX_NODES
from mecapy_platform.services.workflows import names, versions

router = APIRouter(prefix="/workflow-documents", tags=["workflows"], route_class=StrictRoute)
Text = Annotated[str, Field(min_length=1, max_length=400)]
Texts = Annotated[list[Text], Field(max_length=MAX_NODES)]
Ids = Annotated[list[UUID], Field(max_length=MAX_NODES)]


class NamesBody(BaseModel):
    """`owner/package:function@version` and `owner/workflow@number`; without a version the newest is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    functions: Texts = []
    workflows: Texts = []


class IdsAnswer(BaseModel):
    """By name; a name that means nothing that you may use is left out."""

    functions: dict[str, UUID]
    workflows: dict[str, UUID]


class IdsBody(BaseModel):
    """Ids of versions of functions and of workflows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    functions: Ids = []
    workflows: Ids = []


class NamesAnswer(BaseModel):
    """By id; what you may not see is left out."""

    functions: dict[UUID, str]
    workflows: dict[UUID, str]


@router.get("/schema", operation_id="get_workflow_document_schema", responses=problems())
async def get_schema() -> dict[str, Any]:
    """The JSON Schema of workflows as YAML, for editors, which have no token."""
    return document_schema()


@router.post("/ids", operation_id="find_ids_of_names", responses=problems(400))
def find_ids(body: NamesBody, caller: PublishedCaller) -> IdsAnswer:
    """The ids of the versions that names mean."""
    with caller.session() as session:
        return IdsAnswer(
            functions=names.ids_of_functions(session, caller.actor, body.functions),
            workflows=names.ids_of_workflows(session, caller.actor, body.workflows),
        )


@router.post("/names", operation_id="find_names_of_ids", responses=problems(400))
def find_names(body: IdsBody, caller: PublishedCaller) -> NamesAnswer:
    """The names of versions, as documents write them."""
    with caller.session() as session:
        return NamesAnswer(
            functions=names.names_of_functions(session, caller.actor, body.functions),
            workflows=names.names_of_workflows(session, caller.actor, body.workflows),
        )


@router.post("/validate", operation_id="validate_workflow_document", responses=problems(400))
def validate_graph(body: WorkflowVersionRequest, caller: PublishedCaller) -> dict[str, Any]:
    """Judge a graph that belongs to no workflow yet; keep nothing."""
    document = {"nodes": body.nodes, "edges": body.edges, "on_failure": body.on_failure}
    with caller.session() as session:
        return versions.judge(session, caller.actor, document).report.as_dict()
