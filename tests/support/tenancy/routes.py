"""What every route of the API may show to whom. A route without a row here fails the test of tenancy."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import httpx2

from mecapy_platform.db.workflow_tables import WorkflowRun
from mecapy_platform.services.studies.advancing import advance_study
from support import factories
from support.tenancy.world import World
from support.worked import Worked, work

ABSENT = 404
DECK = ("deck.inp", b"*HEADING\n", "text/plain")


class Shows(StrEnum):
    """Whose things a route speaks of.

    `thing`: one named by the request. `own`: a list of what the caller may see. `caller`: the caller alone.
    `everybody`: nothing of a tenant. `signed`: whoever has the address. `nothing`: absent for everybody so far.
    """

    THING = "thing"
    OWN = "own"
    CALLER = "caller"
    EVERYBODY = "everybody"
    SIGNED = "signed"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Ask:
    """One request. `targets` are the texts in it that name the other's thing."""

    url: str
    targets: tuple[str, ...]
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    data: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes, str]] = field(default_factory=dict)

    def send(self, client: httpx2.Client, method: str) -> httpx2.Response:
        kind = (
            {"data": self.data, "files": self.files}
            if self.files
            else {"json": self.json}
            if self.json is not None
            else {}
        )
        return client.request(method, self.url, params=self.params, **kind)

    def elsewhere(self) -> "Ask":
        """The same request for things that nobody has."""
        twins = {target: _made_up(target) for target in self.targets}
        text = json.dumps([self.url, self.params, self.json])
        for target, twin in twins.items():
            text = text.replace(target, twin)
        url, params, body = json.loads(text)
        return replace(self, url=url, params=params, json=body, targets=tuple(twins.values()))


def _made_up(target: str) -> str:
    try:
        UUID(target)
    except ValueError:
        return factories.unique()
    return str(uuid4())


def status_of(answer: httpx2.Response) -> int:
    """The status; of a bulk submission that of its first member; of documents, whether what they name was found."""
    if answer.request.url.path.startswith("/workflow-documents/") and answer.status_code == 200:
        found = answer.json()
        return 200 if found.get("valid") or found.get("functions") or found.get("workflows") else ABSENT
    if answer.request.url.path != "/tasks/bulk" or answer.status_code != 200:
        return answer.status_code
    first = answer.json()["results"][0]
    return 201 if first["task"] else ABSENT if first["error"]["code"].endswith("_not_found") else 422


@dataclass(frozen=True)
class Row:
    """`ask` makes a fresh thing of the owner and the request for it. `leaks`: it shows once both fences are gone."""

    shows: Shows
    ask: Callable[[World], Ask] | None = None
    leaks: bool = True


def thing(ask: Callable[[World], Ask]) -> Row:
    return Row(Shows.THING, ask)


def _task(suffix: str, *, is_ended: bool, prefix: str = "/tasks") -> Row:
    def ask(world: World) -> Ask:
        task_id = world.new_ended_task() if is_ended else world.new_task()
        return Ask(f"{prefix}/{task_id}{suffix}", (task_id,))

    return thing(ask)


def _package(suffix: str, *before: str, body: Any = None) -> Row:
    """`before` is what the owner did to the package first."""

    def ask(world: World) -> Ask:
        package_id = str(world.new_package().package_id)
        with world.client() as owner:
            for step in before:
                assert owner.post(f"/packages/{package_id}/{step}").status_code == 200
        return Ask(f"/packages/{package_id}{suffix}", (package_id,), json=body)

    return thing(ask)


def _upload(world: World) -> Ask:
    package_id = str(world.package.package_id)
    url = f"/packages/{package_id}/functions/solve/uploads"
    return Ask(url, (package_id,), data={"var_name": "deck"}, files={"file": DECK})


def _new_package(world: World) -> Ask:
    archive = factories.archive(factories.unique("p"), visibility="internal")
    params = {"organization_slug": world.slug}
    return Ask(
        "/packages/from-zip", (world.slug,), params=params, files={"file": ("p.zip", archive, "application/zip")}
    )


def _new_version(world: World) -> Ask:
    package = world.new_package()
    archive = factories.archive(package.name, "2.0.0", visibility="internal")
    url = f"/packages/{package.package_id}/versions/from-zip"
    return Ask(url, (str(package.package_id),), files={"file": ("p.zip", archive, "application/zip")})


def _version_checks(world: World) -> Ask:
    package_id = str(world.package.package_id)
    return Ask(f"/packages/{package_id}/versions/1.2.0/checks", (package_id,))


def _set_checks(world: World) -> Ask:
    slug = world.new_organization()
    return Ask(f"/organizations/{slug}/checks", (slug,), json={"checks": {"bandit": "off"}})


def _delete_organization(world: World) -> Ask:
    slug = world.new_organization()
    return Ask(f"/organizations/{slug}", (slug,), json={"confirm_slug": slug})


def _member(world: World) -> Ask:
    targets = (world.slug, str(world.colleague_id))
    return Ask(f"/organizations/{world.slug}/members/{world.colleague_id}", targets, json={"role": "user"})


def _look_up(world: World) -> Ask:
    return Ask("/registry/lookup/package", (world.slug,), params={"owner": world.slug, "name": world.package.name})


def _submission(world: World) -> dict[str, Any]:
    return {"package": f"{world.slug}/{world.package.name}", "function": "size", "inputs": {"diameter": "12 mm"}}


def _execute(world: World) -> Ask:
    package_id = str(world.package.package_id)
    return Ask(f"/packages/{package_id}/functions/size/execute", (package_id,), json={"payload": {"diameter": "12 mm"}})


def _function(world: World) -> Ask:
    function_id = str(world.package.functions["size"])
    return Ask(f"/function-versions/{function_id}", (function_id,))


def _schedule(suffix: str = "", body: Any = None) -> Row:
    def ask(world: World) -> Ask:
        asked = {"name": factories.unique(), "cron": "0 6 * * *", "task": _submission(world)}
        answer = world.client().post("/schedules", json=asked)
        assert answer.status_code == 201, answer.text
        schedule_id = str(answer.json()["id"])
        world.marks.add(schedule_id)
        return Ask(f"/schedules/{schedule_id}{suffix}", (schedule_id,), json=body)

    return thing(ask)


def _new_schedule(world: World) -> Ask:
    asked = {"name": factories.unique(), "cron": "0 6 * * *", "task": _submission(world)}
    return Ask("/schedules", (world.slug,), json=asked)


def _studied_design() -> dict[str, Any]:
    return {"kind": "list", "points": [{"diameter": "12 mm"}]}


def _studied(world: World) -> dict[str, Any]:
    names = {"package": f"{world.slug}/{world.package.name}", "function": "size", "name": factories.unique()}
    return {**names, "design": _studied_design()}


def _study(suffix: str = "", body: Any = None, *before: str) -> Row:
    def ask(world: World) -> Ask:
        with world.client() as owner:
            answer = owner.post("/studies", json=_studied(world))
            assert answer.status_code == 201, answer.text
            study_id = str(answer.json()["id"])
            for step in before:
                assert owner.post(f"/studies/{study_id}/{step}").status_code == 200
        world.marks.add(study_id)
        return Ask(f"/studies/{study_id}{suffix}", (study_id,), json=body)

    return thing(ask)


def _worked_out(suffix: str, body: Any = None, **params: str) -> Row:
    """Of a study whose point has ended, so that there is something to calculate of."""

    def ask(world: World) -> Ask:
        with world.client() as owner:
            study_id = str(owner.post("/studies", json=_studied(world)).json()["id"])
            task_id = UUID(owner.get(f"/studies/{study_id}/points").json()["points"][0]["task_id"])
        work(world.platform.worker_database, {task_id: Worked(result={"stress": 5.0})})
        advance_study(world.platform.worker_database, UUID(study_id), world.platform.settings.queue_rules)
        world.marks.add(study_id)
        return Ask(f"/studies/{study_id}{suffix}", (study_id,), params, json=body)

    return thing(ask)


def _graph(world: World) -> dict[str, Any]:
    version_id = str(world.package.functions["size"])
    inputs = {"diameter": "Length", "load": "Force"}
    return {
        "nodes": [
            {"node_key": "size", "function_version_id": version_id},
            *(
                {"node_key": key, "node_kind": "input", "input_spec": {"label": key, "type_expr": kind}}
                for key, kind in inputs.items()
            ),
        ],
        "edges": [
            {"source_node_key": key, "source_port": "value", "target_node_key": "size", "target_port": key}
            for key in inputs
        ],
    }


def new_workflow(world: World, *steps: str) -> tuple[str, str]:
    """Its id and slug; it has a version, and the owner took the steps."""
    slug = factories.unique("w")
    with world.client() as owner:
        asked = {"slug": slug, "name": slug, "organization_slug": world.slug}
        answer = owner.post("/workflows", json=asked)
        assert answer.status_code == 201, answer.text
        workflow_id = str(answer.json()["id"])
        saved = owner.post(f"/workflows/{workflow_id}/versions", json=_graph(world))
        assert saved.status_code == 201, saved.text
        for step in steps:
            assert owner.post(f"/workflows/{workflow_id}/{step}").status_code == 200
    world.marks |= {workflow_id, slug, str(saved.json()["id"])}
    return workflow_id, slug


def _workflow(suffix: str, *before: str, graph: bool = False) -> Row:
    def ask(world: World) -> Ask:
        workflow_id, _ = new_workflow(world, *before)
        return Ask(f"/workflows/{workflow_id}{suffix}", (workflow_id,), json=_graph(world) if graph else None)

    return thing(ask)


def _names(world: World) -> Ask:
    workflow_id, slug = new_workflow(world)
    name, version = f"{world.slug}/{world.package.name}:size", f"{world.slug}/{slug}@1"
    asked = {"functions": [name], "workflows": [version]}
    return Ask("/workflow-documents/ids", (name, version, workflow_id), json=asked)


def _ids(world: World) -> Ask:
    version_id = str(world.package.functions["size"])
    return Ask("/workflow-documents/names", (version_id,), json={"functions": [version_id]})


def _judged(world: World) -> Ask:
    return Ask("/workflow-documents/validate", (str(world.package.functions["size"]),), json=_graph(world))


def _run_body() -> dict[str, Any]:
    return {"inputs": {"diameter": "12 mm", "load": 1.0}}


def _new_run(world: World) -> Ask:
    workflow_id, _ = new_workflow(world)
    return Ask(f"/workflows/{workflow_id}/runs", (workflow_id,), json=_run_body())


def _run(suffix: str) -> Row:
    def ask(world: World) -> Ask:
        workflow_id, _ = new_workflow(world)
        answer = world.client().post(f"/workflows/{workflow_id}/runs", json=_run_body())
        assert answer.status_code == 201, answer.text
        run_id = str(answer.json()["id"])
        world.marks.add(run_id)
        return Ask(f"/workflow-runs/{run_id}{suffix}", (run_id,))

    return thing(ask)


def _run_of(suffix: str, *before: str) -> Row:
    """On our own paths, of a run with an approval; the owner took the steps."""

    def ask(world: World) -> Ask:
        workflow_id, _ = new_workflow(world)
        with world.client() as owner:
            graph = _graph(world)
            approval = {"node_key": "ok", "node_kind": "approval", "role": "user"}
            saved = owner.post(
                f"/workflows/{workflow_id}/versions", json={**graph, "nodes": [*graph["nodes"], approval]}
            )
            assert saved.status_code == 201, saved.text
            answer = owner.post(f"/workflows/{workflow_id}/runs", json=_run_body())
            assert answer.status_code == 201, answer.text
            run_id = str(answer.json()["id"])
            for step in before:
                assert owner.post(f"/runs/{run_id}/{step}").status_code == 200
        if suffix == "/adopt":
            with world.platform.worker_database.transaction() as session:
                session.get_one(WorkflowRun, UUID(run_id)).held_reason = "member_gone"
        world.marks.add(run_id)
        body = {"decision": "approve"} if suffix.endswith("/decision") else None
        return Ask(f"/runs/{run_id}{suffix}", (run_id,), json=body)

    return thing(ask)


def _new_workflow(world: World) -> Ask:
    asked = {"slug": factories.unique("w"), "name": "w", "organization_slug": world.slug}
    return Ask("/workflows", (world.slug,), json=asked)


def _look_up_workflow(world: World) -> Ask:
    _, slug = new_workflow(world)
    return Ask("/registry/lookup/workflow", (world.slug, slug), params={"owner": world.slug, "slug": slug})


OPEN, OWN, CALLER = Row(Shows.EVERYBODY), Row(Shows.OWN), Row(Shows.CALLER)

ROUTES: Mapping[tuple[str, str], Row] = {
    ("GET", "/"): OPEN,
    ("GET", "/health"): OPEN,
    ("GET", "/ready"): OPEN,
    ("GET", "/realms/mecapy/.well-known/openid-configuration"): OPEN,
    ("GET", "/realms/mecapy/protocol/openid-connect/certs"): OPEN,
    ("GET", "/types/catalog"): OPEN,
    ("POST", "/types/check-connection"): OPEN,
    ("GET", "/auth/me"): CALLER,
    ("GET", "/auth/protected"): CALLER,
    ("GET", "/auth/admin"): CALLER,
    ("POST", "/organizations"): CALLER,
    ("POST", "/upload/archive"): CALLER,
    ("GET", "/packages"): OWN,
    ("GET", "/organizations"): OWN,
    ("GET", "/tasks"): OWN,
    ("GET", "/jobs"): Row(Shows.OWN, leaks=False),  # one's own jobs alone, even among colleagues
    ("GET", "/storage/{key}"): Row(Shows.SIGNED),
    ("GET", "/workflow-documents/schema"): OPEN,
    ("POST", "/workflow-documents/ids"): thing(_names),
    ("POST", "/workflow-documents/names"): thing(_ids),
    ("POST", "/workflow-documents/validate"): thing(_judged),
    ("GET", "/registry/lookup/workflow"): thing(_look_up_workflow),
    ("POST", "/workflows"): thing(_new_workflow),
    ("GET", "/workflows"): OWN,
    ("GET", "/workflows/{slug}"): _workflow(""),
    ("DELETE", "/workflows/{slug}"): _workflow("", "archive"),
    ("POST", "/workflows/{slug}/archive"): _workflow("/archive"),
    ("POST", "/workflows/{slug}/unarchive"): _workflow("/unarchive", "archive"),
    ("GET", "/workflows/{slug}/versions"): _workflow("/versions"),
    ("POST", "/workflows/{slug}/versions"): _workflow("/versions", graph=True),
    ("GET", "/workflows/{slug}/versions/{version}"): _workflow("/versions/1"),
    ("GET", "/workflows/{slug}/versions/{version}/document"): _workflow("/versions/1/document"),
    ("POST", "/workflows/{slug}/validate"): _workflow("/validate", graph=True),
    ("POST", "/workflows/{slug}/runs"): thing(_new_run),
    ("GET", "/workflow-runs"): Row(Shows.OWN, leaks=False),  # one's own runs alone, as jobs
    ("GET", "/workflow-runs/{run_id}"): _run(""),
    ("GET", "/workflow-runs/{run_id}/plan"): _run("/plan"),
    ("POST", "/workflow-runs/{run_id}/tick"): _run("/tick"),
    ("POST", "/workflow-runs/{run_id}/qa-track"): _run("/qa-track"),
    ("POST", "/workflow-runs/{run_id}/qa-untrack"): _run("/qa-untrack"),
    ("GET", "/registry/lookup/package"): thing(_look_up),
    ("GET", "/function-versions/{function_version_id}"): thing(_function),
    ("POST", "/packages/from-zip"): thing(_new_package),
    ("GET", "/packages/{package_id}"): _package(""),
    ("GET", "/packages/{package_id}/versions"): _package("/versions"),
    ("POST", "/packages/{package_id}/versions/from-zip"): thing(_new_version),
    ("PATCH", "/packages/{package_id}/visibility"): _package("/visibility", body={"visibility": "public"}),
    ("POST", "/packages/{package_id}/archive"): _package("/archive"),
    ("POST", "/packages/{package_id}/unarchive"): _package("/unarchive", "archive"),
    ("POST", "/packages/{package_id}/yank"): _package("/yank"),
    ("POST", "/packages/{package_id}/unyank"): _package("/unyank", "yank"),
    ("POST", "/packages/{package_id}/functions/{function_name}/uploads"): thing(_upload),
    ("POST", "/packages/{package_id}/functions/{function_name}/execute"): thing(_execute),
    ("GET", "/jobs/{job_id}"): _task("", is_ended=True, prefix="/jobs"),
    ("GET", "/jobs/{job_id}/result"): _task("/result", is_ended=True, prefix="/jobs"),
    ("GET", "/jobs/{job_id}/logs"): _task("/logs", is_ended=True, prefix="/jobs"),
    ("GET", "/jobs/{job_id}/artifacts"): _task("/artifacts", is_ended=True, prefix="/jobs"),
    ("GET", "/organizations/{slug}"): thing(lambda world: Ask(f"/organizations/{world.slug}", (world.slug,))),
    ("DELETE", "/organizations/{slug}"): thing(_delete_organization),
    ("PATCH", "/organizations/{slug}/members/{user_id}"): thing(_member),
    ("GET", "/organizations/{slug}/checks"): thing(
        lambda world: Ask(f"/organizations/{world.slug}/checks", (world.slug,))
    ),
    ("PUT", "/organizations/{slug}/checks"): thing(_set_checks),
    ("GET", "/packages/{package_id}/versions/{version}/checks"): thing(_version_checks),
    ("POST", "/tasks"): thing(lambda world: Ask("/tasks", (world.slug,), json=_submission(world))),
    ("POST", "/tasks/bulk"): thing(
        lambda world: Ask("/tasks/bulk", (world.slug,), json={"tasks": [_submission(world)]})
    ),
    ("GET", "/tasks/{task_id}"): _task("", is_ended=True),
    ("GET", "/tasks/{task_id}/inputs"): _task("/inputs", is_ended=True),
    ("GET", "/tasks/{task_id}/result"): _task("/result", is_ended=True),
    ("GET", "/tasks/{task_id}/logs"): _task("/logs", is_ended=True),
    ("GET", "/tasks/{task_id}/artifacts"): _task("/artifacts", is_ended=True),
    ("POST", "/tasks/{task_id}/cancel"): _task("/cancel", is_ended=False),
    ("POST", "/tasks/{task_id}/retry"): _task("/retry", is_ended=True),
    ("POST", "/schedules"): thing(_new_schedule),
    ("GET", "/schedules"): OWN,
    ("GET", "/schedules/{schedule_id}"): _schedule(),
    ("GET", "/schedules/{schedule_id}/firings"): _schedule("/firings"),
    ("PATCH", "/schedules/{schedule_id}"): _schedule(body={"is_paused": True}),
    ("DELETE", "/schedules/{schedule_id}"): _schedule(),
    ("GET", "/runs"): OWN,
    ("GET", "/runs/{run_id}"): _run_of(""),
    ("GET", "/runs/{run_id}/nodes"): _run_of("/nodes"),
    ("GET", "/runs/{run_id}/nodes/{key}/items"): _run_of("/nodes/size/items"),
    ("POST", "/runs/{run_id}/cancel"): _run_of("/cancel"),
    ("POST", "/runs/{run_id}/pause"): _run_of("/pause"),
    ("POST", "/runs/{run_id}/resume"): _run_of("/resume", "pause"),
    ("POST", "/runs/{run_id}/retry"): _run_of("/retry", "cancel"),
    ("POST", "/runs/{run_id}/adopt"): _run_of("/adopt"),
    ("POST", "/runs/{run_id}/nodes/{key}/decision"): _run_of("/nodes/ok/decision"),
    ("GET", "/approvals"): OWN,
    ("POST", "/studies"): thing(lambda world: Ask("/studies", (world.slug,), json=_studied(world))),
    ("POST", "/studies/estimate"): thing(lambda world: Ask("/studies/estimate", (world.slug,), json=_studied(world))),
    ("GET", "/studies"): OWN,
    ("GET", "/studies/{study_id}"): _study(),
    ("PATCH", "/studies/{study_id}"): _study(body={"priority": 3}),
    ("GET", "/studies/{study_id}/points"): _study("/points"),
    ("GET", "/studies/{study_id}/failures"): _study("/failures"),
    ("GET", "/studies/{study_id}/export"): _study("/export"),
    ("GET", "/studies/{study_id}/plot"): _worked_out("/plot", plot="histogram", x="stress"),
    ("GET", "/studies/{study_id}/parquet"): _worked_out("/parquet"),
    ("POST", "/studies/{study_id}/points"): _study("/points", {"addition": {"points": [{"diameter": "12 mm"}]}}),
    ("POST", "/studies/{study_id}/statistics"): _worked_out("/statistics", {"wanted": ["moments"]}),
    ("POST", "/studies/{study_id}/pause"): _study("/pause"),
    ("POST", "/studies/{study_id}/resume"): _study("/resume", None, "pause"),
    ("POST", "/studies/{study_id}/cancel"): _study("/cancel"),
}


def rows(*shows: Shows) -> list[tuple[str, str]]:
    return [route for route, row in ROUTES.items() if row.shows in shows]
