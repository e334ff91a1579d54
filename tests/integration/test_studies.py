"""Studies over HTTP and real PostgreSQL."""

import csv
import io
import math
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from arro3.io import read_parquet
from sqlalchemy import delete, func, select, text

from mecapy_platform.core.errors import ConflictError, MecapyError
from mecapy_platform.core.states import TaskState, Usage
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Membership, Package, Task
from mecapy_platform.db.workflow_tables import Call, Study
from mecapy_platform.services.studies import studies
from mecapy_platform.services.studies.advancing import advance_study
from mecapy_platform.services.studies.records import Drawn
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database
from support.studied import BARS, Company, DyingDatabase, failing, numbers
from support.worked import Worked, end_taken, take


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiPlatform]:
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("studies")) as running:
        yield running


@pytest.fixture
def company(platform: ApiPlatform) -> Iterator[Company]:
    made = Company(platform)
    yield made
    with platform.worker_database.transaction() as session:  # what stays due would be another test's
        session.execute(text("DELETE FROM due_marks"))


def test_a_study_runs_in_windows_to_its_end(company: Company) -> None:
    study = company.study(parallel=4)
    assert (study["state"], numbers(study)) == ("running", (12, 8, 4, 0, 0, 0))
    assert [point for _, point in company.queued(study)] == [0, 1, 2, 3]
    assert company.end(study) == 4
    assert company.advance()
    assert numbers(company.look(study)) == (12, 4, 4, 4, 0, 0)
    ended = company.run_out(study)
    assert (ended["state"], numbers(ended), ended["error"]) == ("completed", (12, 0, 0, 12, 0, 0), None)
    assert ended["change"] > study["change"]


def test_who_names_no_organization_studies_for_the_one_that_has_the_package(company: Company) -> None:
    """As a task would be of that one; the default of such a caller may be another."""
    for others in ((), (factories.unique(),)):
        caller = company.platform.client(f"ann-{company.slug}", company.slug, *others)
        answer = caller.post("/studies", json=company.asked(BARS))
        assert (answer.status_code, answer.json()["state"]) == (201, "running"), answer.text
        assert company.run_out(answer.json())["state"] == "completed"


def test_points_hold_inputs_in_the_unit_of_the_function_and_their_results(company: Company) -> None:
    study = company.study()
    company.run_out(study)
    page = company.client.get(f"/studies/{study['id']}/points", params={"limit": 5}).json()
    assert [point["index"] for point in page["points"]] == [0, 1, 2, 3, 4]
    assert page["points"][2]["inputs"] == {"diameter": pytest.approx(0.012)}
    assert page["points"][2]["result"] == {"stress": 2.0}
    rest = company.client.get(
        f"/studies/{study['id']}/points", params={"limit": 100, "after": page["next_after"]}
    ).json()
    assert [point["index"] for point in rest["points"]] == list(range(5, 12))
    assert rest["next_after"] is None
    task = company.client.get(f"/tasks/{page['points'][2]['task_id']}").json()
    assert (task["state"], task["result"]) == ("completed", {"stress": 2.0})


def test_failed_points_are_grouped_by_what_they_said_and_run_again_by_resume(company: Company) -> None:
    study = company.study()
    ended = company.run_out(study, failing(2, 4, 5))
    assert (ended["state"], numbers(ended)) == ("completed", (12, 0, 0, 9, 3, 0))
    groups = company.client.get(f"/studies/{study['id']}/failures").json()["failures"]
    assert [(group["message"], group["points"], group["first"]) for group in groups] == [
        ("Bar 0 is too thin.", 2, 2),
        ("Bar 1 is too thin.", 1, 5),
    ]
    assert numbers(company.do(study, "resume")) == (12, 0, 3, 9, 0, 0)
    assert [point for _, point in company.queued(study)] == [2, 4, 5]
    ended = company.run_out(study)
    assert numbers(ended) == (12, 0, 0, 12, 0, 0)
    point = company.client.get(f"/studies/{study['id']}/points", params={"after": 1, "limit": 1}).json()["points"][0]
    assert (point["state"], point["error"]) == ("completed", None)
    assert company.do(study, "resume", 409)["code"] == "nothing_to_resume"


def test_too_many_failures_and_a_spent_budget_stop_it_and_can_be_raised(company: Company) -> None:
    study = company.study(parallel=4, max_failures=1)
    stopped = company.run_out(study, failing(0, 1, 2))
    assert (stopped["state"], stopped["error"]["code"]) == ("failed", "too_many_failures")
    assert numbers(stopped) == (12, 8, 0, 1, 3, 0)
    assert company.client.patch(f"/studies/{study['id']}", json={"max_failures": 100}).status_code == 200
    company.do(study, "resume")
    assert numbers(company.run_out(study)) == (12, 0, 0, 12, 0, 0)
    dear = company.study(parallel=2, max_cpu_hours=0.001)
    stopped = company.run_out(dear, lambda _: Worked(usage=Usage(10.0, 10.0, 32.0)))
    assert (stopped["state"], stopped["error"]["code"], stopped["completed"]) == ("failed", "budget_spent", 2)


def test_a_paused_study_starts_nothing_and_goes_on_when_it_is_resumed(company: Company) -> None:
    study = company.study(parallel=4)
    assert company.do(study, "pause")["state"] == "paused"
    company.end(study)
    company.advance()
    assert (company.look(study)["state"], company.queued(study)) == ("paused", [])
    company.do(study, "resume")
    assert company.run_out(study)["state"] == "completed"
    assert company.do(study, "pause", 409)["code"] == "study_ended"


def test_a_cancelled_study_ends_with_its_last_task(company: Company) -> None:
    study = company.study(parallel=4)
    first = company.queued(study)[0][0]
    tokens = take(company.platform.worker_database, [first])
    cancelled = company.do(study, "cancel")
    assert company.queued(study) == []
    company.advance()
    assert (company.look(study)["state"], numbers(company.look(study))) == ("running", (12, 0, 1, 0, 0, 11))
    with company.platform.worker_database.transaction() as session:
        running = session.scalars(select(Task).where(Task.study_id == UUID(study["id"]), Task.state == "running")).one()
        assert running.cancel_requested_at is not None
    assert running.id == first
    how = {first: Worked(TaskState.CANCELLED, None, "cancelled", "Cancelled while it was running.")}
    assert end_taken(company.platform.worker_database, tokens, how) == 1
    company.advance()
    ended = company.look(study)
    assert (ended["state"], numbers(ended)) == ("cancelled", (12, 0, 0, 0, 0, 12))
    assert company.do(study, "cancel")["state"] == "cancelled"
    assert cancelled["id"] == study["id"]


def test_points_can_be_added_to_one_that_has_ended(company: Company) -> None:
    study = company.study(BARS[:2])
    company.run_out(study)
    body = {"addition": {"points": BARS[2:5]}}
    added = company.client.post(f"/studies/{study['id']}/points", json=body)
    assert (added.status_code, numbers(added.json())) == (200, (5, 0, 3, 2, 0, 0))
    assert numbers(company.run_out(study)) == (5, 0, 0, 5, 0, 0)


def test_eight_advancers_at_once_start_each_point_once(company: Company) -> None:
    points = [{"diameter": "12 mm"}] * 200
    study = company.study(points, parallel=20)
    databases = [Database(make_engine(company.platform.postgres.worker_url, pool_size=1)) for _ in range(8)]

    def advance(database: Database) -> None:
        advance_study(database, UUID(study["id"]), company.platform.settings.queue_rules)

    while company.end(study):
        threads = [threading.Thread(target=advance, args=(database,)) for database in databases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for database in databases:
        database.dispose()
    assert numbers(company.look(study)) == (200, 0, 0, 200, 0, 0)
    with company.platform.worker_database.transaction() as session:
        started = select(func.count(), func.count(func.distinct(Task.point))).where(Task.study_id == UUID(study["id"]))
        assert session.execute(started).one() == (200, 200)
        assert session.scalar(select(func.count()).select_from(Call).where(Call.study_id == UUID(study["id"]))) == 200


def test_who_dies_while_advancing_leaves_all_to_the_next(company: Company) -> None:
    study = company.study(parallel=4)
    company.end(study)
    broken = DyingDatabase(make_engine(company.platform.postgres.worker_url, pool_size=1))
    with pytest.raises(MecapyError):
        advance_study(broken, UUID(study["id"]), company.platform.settings.queue_rules)
    broken.dispose()
    assert numbers(company.look(study)) == (12, 8, 4, 0, 0, 0)
    assert company.advance()
    assert numbers(company.look(study)) == (12, 4, 4, 4, 0, 0)
    assert not company.advance()


def test_what_the_owner_may_no_longer_run_stops_it_with_the_reason(company: Company) -> None:
    study = company.study(parallel=4)
    with company.platform.worker_database.transaction() as session:
        session.get_one(Package, company.package.package_id).archived_at = func.now()
    stopped = company.run_out(study)
    assert (stopped["state"], stopped["error"]["code"]) == ("failed", "package_archived")
    assert numbers(stopped) == (12, 8, 0, 4, 0, 0)
    with company.platform.worker_database.transaction() as session:
        session.get_one(Package, company.package.package_id).archived_at = None
    assert numbers(company.do(study, "resume")) == (12, 4, 4, 4, 0, 0)
    with company.platform.worker_database.transaction() as session:
        session.execute(delete(Membership).where(Membership.user_id == company.actor.user_id))
    while company.end(study):
        company.advance()
    with company.platform.worker_database.transaction() as session:
        row = session.get_one(Study, UUID(study["id"]))
        assert (row.state, row.error_code, row.waiting) == ("failed", "study_owner_gone", 4)


def test_the_same_key_makes_one_study(company: Company) -> None:
    body, headers = company.asked(BARS), {"Idempotency-Key": factories.unique()}
    first, again = (company.client.post("/studies", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = company.client.post("/studies", json=company.asked(BARS[:3]), headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("points", "code", "path"),
    [
        ([], "design_invalid", "points"),
        ([{"diameter": "12 mm"}, {"diameter": "12 kg"}], "inputs_invalid", "points[1].diameter"),
        ([{"diameter": "12 mm", "wide": 1}], "inputs_invalid", "points[0].wide"),
        ([{"load": "1 N"}], "inputs_invalid", "points[0].diameter"),
        (["12 mm"], "design_invalid", "points[0]"),
        ([{"diameter": 0.01}] * 50_001, "design_invalid", "points"),
    ],
)
def test_a_design_that_does_not_hold_is_refused_with_its_place_and_leaves_nothing(
    company: Company, points: list[Any], code: str, path: str
) -> None:
    answer = company.client.post("/studies", json=company.asked(points))
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert company.client.get("/studies").json()["studies"] == []


def test_derived_quantities_and_criteria_are_computed_of_each_point(company: Company) -> None:
    derived, criteria = {"area": "pi * diameter ** 2 / 4"}, {"strong": "stress >= 6[Pa]"}
    study = company.study(derived=derived, criteria=criteria)
    company.run_out(study, failing(11))
    points = company.client.get(f"/studies/{study['id']}/points").json()["points"]
    assert points[2]["derived"] == {"area": pytest.approx(math.pi * 0.012**2 / 4)}
    assert [point["success"] for point in points] == [False] * 6 + [True] * 5 + [None]
    rows = list(csv.DictReader(io.StringIO(company.client.get(f"/studies/{study['id']}/export").text)))
    assert (float(rows[2]["area"]), rows[6]["success"]) == (points[2]["derived"]["area"], "true")


@pytest.mark.parametrize(
    ("options", "path", "code"),
    [
        ({"derived": {"x": "diameter + 1[kg]"}}, "options.derived.x", "unit_mismatch"),
        ({"derived": {"x": "diametre"}}, "options.derived.x", "expression_unknown_name"),
        ({"derived": {"diameter": "1"}}, "options.derived.diameter", "name_taken"),
        ({"criteria": {"x": "stress"}}, "options.criteria.x", "unit_mismatch"),
        ({"criteria": {"x": "__import__('os')"}}, "options.criteria.x", "expression_unknown_function"),
    ],
)
def test_an_expression_that_does_not_hold_is_refused_before_anything_runs(
    company: Company, options: dict[str, Any], path: str, code: str
) -> None:
    answer = company.client.post("/studies", json=company.asked(BARS, **options))
    assert (answer.status_code, answer.json()["code"]) == (422, "expression_invalid")
    assert [(error["path"], error["code"]) for error in answer.json()["errors"]] == [(path, code)]


def test_a_random_design_is_recorded_with_its_seed_and_grows_by_the_same_points(company: Company) -> None:
    factor = {"distribution": "normal", "mean": "12 mm", "std": "0.1 mm"}
    design = {"kind": "monte_carlo", "factors": {"diameter": factor}, "points": 40}
    study = company.client.post("/studies", json={**company.asked([]), "design": design}).json()
    assert isinstance(study["design"]["seed"], int)
    company.run_out(study)
    url = f"/studies/{study['id']}"
    before = company.client.get(f"{url}/points").json()["points"]
    grown = company.client.post(f"{url}/points", json={"addition": {"points": 20}})
    assert (grown.status_code, grown.json()["points"]) == (200, 60)
    again = company.client.post(
        "/studies", json={**company.asked([]), "design": {**design, "points": 60, "seed": study["design"]["seed"]}}
    ).json()
    drawn = [
        [point["inputs"] for point in company.client.get(f"/studies/{made['id']}/points").json()["points"]]
        for made in (study, again)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0][:40] == [point["inputs"] for point in before]


def test_statistics_are_calculated_of_what_has_ended_or_refused(company: Company) -> None:
    study = company.study(derived={"area": "pi * diameter ** 2 / 4"}, criteria={"strong": "stress >= 6[Pa]"})
    company.run_out(study, failing(11))
    url = f"/studies/{study['id']}/statistics"
    refused = company.client.post(url, json={})
    assert (refused.status_code, refused.json()["code"]) == (422, "sample_incomplete")
    asked = {"wanted": ["moments", "quantiles", "success", "correlation"], "incomplete": "leave_out"}
    found = company.client.post(url, json=asked).json()
    assert (found["points"], found["used"]) == (12, 11)
    assert found["statistics"]["moments"]["stress"]["mean"] == pytest.approx(5.0)
    assert set(found["statistics"]["moments"]) == {"stress", "area"}
    assert found["statistics"]["success"]["strong"]["share"] == pytest.approx(5 / 11)


def test_plots_and_tables_are_made_of_what_has_ended(company: Company) -> None:
    study = company.study(derived={"area": "pi * diameter ** 2 / 4"}, criteria={"strong": "stress >= 6[Pa]"})
    company.run_out(study, failing(11))
    url = f"/studies/{study['id']}"
    asked: dict[str, Any] = {"plot": "scatter", "x": "diameter", "y": "stress"}
    assert company.client.get(f"{url}/plot", params=asked).json()["code"] == "sample_incomplete"
    drawn = company.client.get(f"{url}/plot", params={**asked, "leave_out": True})
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/svg+xml")
    assert drawn.content.startswith(b"<?xml")
    assert "sandbox" in drawn.headers["content-security-policy"]
    kinds: list[dict[str, Any]] = [
        {"plot": "histogram", "x": "area", "bins": 5},
        {"plot": "tornado", "y": "stress"},
        {"plot": "pareto", "x": "area", "y": "stress", "maximise": ["stress"]},
    ]
    for kind in kinds:
        picture = company.client.get(f"{url}/plot", params={**kind, "format": "png", "leave_out": True})
        assert picture.content.startswith(b"\x89PNG"), picture.text
    assert company.client.get(f"{url}/plot", params={"plot": "convergence"}).json()["code"] == "plot_invalid"
    table = read_parquet(io.BytesIO(company.client.get(f"{url}/parquet").content)).read_all()
    assert table.shape[0] == 12
    assert {"index", "state", "diameter", "stress", "area", "strong"} <= set(table.column_names)


def test_points_drawn_for_a_study_that_got_others_meanwhile_are_refused(company: Company) -> None:
    study = company.study(BARS[:2])
    drawn = Drawn([{"diameter": 0.01}], study["design"])
    with (
        company.platform.worker_database.transaction() as session,
        pytest.raises(ConflictError) as error,
    ):
        studies.add_points(
            session, company.actor, UUID(study["id"]), drawn, company.platform.settings.queue_rules, there=1
        )
    assert error.value.code == "points_changed"
    assert numbers(company.look(study))[0] == 2


def test_pages_of_large_points_are_cut_by_their_size_and_none_is_left_out(company: Company) -> None:
    study = company.study([{"diameter": 0.01}] * 120, parallel=120)
    company.run_out(study, lambda _: Worked(result={"stress": 1.0, "note": "x" * 200_000}))
    url, after, seen = f"/studies/{study['id']}/points", -1, list[int]()
    pages = 0
    while after is not None:
        page = company.client.get(url, params={"after": after, "limit": 1000}).json()
        seen += [point["index"] for point in page["points"]]
        after, pages = page["next_after"], pages + 1
    assert seen == list(range(120))
    assert pages > 1
    assert len(company.client.get(f"/studies/{study['id']}/export", params={"format": "json"}).text.splitlines()) == 120


def test_who_was_made_a_viewer_starts_no_further_points(company: Company) -> None:
    study = company.study(parallel=4)
    with company.platform.worker_database.transaction() as session:
        row = session.get_one(Membership, (company.organization_id, company.actor.user_id))
        row.role = "viewer"
    while company.end(study):
        company.advance()
    with company.platform.worker_database.transaction() as session:
        found = session.get_one(Study, UUID(study["id"]))
        assert (found.state, found.error_code, found.waiting) == ("failed", "viewer_may_not_submit", 8)


def test_a_study_that_fails_for_a_reason_nobody_thought_of_delays_no_other(company: Company) -> None:
    broken, whole = company.study(parallel=4), company.study(parallel=4)
    with company.platform.worker_database.transaction() as session:
        session.get_one(Study, UUID(broken["id"])).options = {"unknown": 1}
    company.end(broken)
    company.end(whole)
    company.advance()
    assert numbers(company.look(whole)) == (12, 4, 4, 4, 0, 0)


def test_an_estimate_keeps_nothing(company: Company) -> None:
    found = company.client.post("/studies/estimate", json=company.asked(BARS)).json()
    assert (found["points"], found["is_learned"]) == (12, False)
    assert found["cpu_hours"] == pytest.approx(12 * found["seconds_each"] / 3600)
    assert company.client.get("/studies").json()["studies"] == []


def test_an_export_is_a_table_in_which_nothing_is_a_formula(company: Company) -> None:
    study = company.study()
    company.run_out(study, lambda point: Worked(result={"stress": point * 2.0, "note": "=1+1"}))
    answer = company.client.get(f"/studies/{study['id']}/export")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["index"] for row in rows] == [str(number) for number in range(12)]
    assert float(rows[3]["diameter"]) == pytest.approx(0.013)
    assert (float(rows[3]["stress"]), rows[3]["note"]) == (6.0, "'=1+1")
    lines = company.client.get(f"/studies/{study['id']}/export", params={"format": "json"}).text.splitlines()
    assert len(lines) == 12


def test_fifty_thousand_points_are_accepted_and_read_in_pages(company: Company) -> None:
    study = company.study([{"diameter": 0.01}] * 50_000)
    assert numbers(study) == (50_000, 49_900, 100, 0, 0, 0)
    page = company.client.get(f"/studies/{study['id']}/points", params={"after": 49_989}).json()
    assert [point["index"] for point in page["points"]] == list(range(49_990, 50_000))
    company.do(study, "cancel")
    company.advance()
    assert numbers(company.look(study)) == (50_000, 0, 0, 0, 0, 50_000)
