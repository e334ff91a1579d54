"""Pictures and tables of a study, made in a bounded process."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import OwnCaller
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.api.task_models import Name
from mecapy_platform.numerics.calls import StudyMath
from mecapy_platform.services.studies import studies
from mecapy_platform.services.studies.statistics import StatisticsRequest, labels_of, order_of, rows_of

router = APIRouter(prefix="/studies", tags=["studies"], route_class=StrictRoute)
Form = Literal["svg", "png"]
TYPES: dict[str, str] = {"svg": "image/svg+xml", "png": "image/png"}
HARMLESS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}


@router.get(
    "/{study_id}/plot",
    operation_id="plot_study",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in TYPES.values()}}, **problems(schema="Problem")},
)
def plot_study(
    study_id: UUID,
    caller: OwnCaller,
    request: Request,
    plot: Annotated[Literal["scatter", "histogram", "convergence", "tornado", "pareto"], Query()],
    form: Annotated[Form, Query(alias="format")] = "svg",
    x: Annotated[Name | None, Query(description="A column: input, output or derived quantity.")] = None,
    y: Annotated[Name | None, Query()] = None,
    maximise: Annotated[list[Name] | None, Query(description="Of a Pareto set; others are minimised.")] = None,
    bins: Annotated[int | None, Query(ge=1, le=200)] = None,
    leave_out: Annotated[bool, Query(description="Leave out points without a value.")] = False,
) -> Response:
    """Draw a plot of a study: what is in it is said in docs/reference/study-statistics.md."""
    largest = set(maximise or ())
    goals = [{"name": name, "goal": "maximise" if name in largest else "minimise"} for name in (x, y) if name]
    options = {"plot": plot, "form": form, "x": x, "y": y, "bins": bins, "objectives": goals}
    with caller.session() as session:
        study = studies.get(session, caller.actor, study_id)
        asked = StatisticsRequest(leaves_out=leave_out, options={**options, "title": study.name})
        order = {**order_of(session, study, asked), "labels": labels_of(session, study), "result": study.outcome}
        rows = b"" if plot == "convergence" else rows_of(session, study)
    picture = _math(request).plot(order, rows)
    return Response(picture, media_type=TYPES[form], headers=HARMLESS)


@router.get(
    "/{study_id}/parquet",
    operation_id="export_study_as_parquet",
    response_class=Response,
    responses={200: {"content": {"application/vnd.apache.parquet": {}}}, **problems(schema="Problem")},
)
def export_study_as_parquet(study_id: UUID, caller: OwnCaller, request: Request) -> Response:
    """All points as a Parquet file: a column for each input, output, derived quantity and criterion."""
    with caller.session() as session:
        study = studies.get(session, caller.actor, study_id)
        order, rows = order_of(session, study, StatisticsRequest()), rows_of(session, study)
    return Response(_math(request).parquet(order, rows), media_type="application/vnd.apache.parquet")


def _math(request: Request) -> StudyMath:
    math: StudyMath = request.app.state.drawer.math
    return math
