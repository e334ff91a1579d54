"""Every published route that this platform has, its answers validated against the published document."""

from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from mecapy_platform.core.states import TaskState
from mecapy_platform.db.tables import PackageVersion
from mecapy_platform.services import builds
from mecapy_platform.services.builds import Built, Ports
from support import factories
from support.platform.api_platform import ApiPlatform
from support.platform.published_contract import check, operations

FROM_GIT = {("post", "/packages/from-git"), ("post", "/packages/{package_id}/versions/from-git")}


@pytest.fixture
def slug() -> str:
    return factories.unique()


@pytest.fixture
def client(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"ann-{slug}", slug)


@pytest.fixture
def package(platform: ApiPlatform, slug: str) -> factories.ReadyPackage:
    actor = platform.actor(f"ann-{slug}", slug)
    return factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)


def deploy(client: httpx2.Client, content: bytes, path: str = "/packages/from-zip", **fields: str) -> httpx2.Response:
    params = {"organization_slug": fields.pop("organization_slug")} if "organization_slug" in fields else {}
    return client.post(path, params=params, data=fields, files={"file": ("package.zip", content, "application/zip")})


def build(platform: ApiPlatform, **changes: Any) -> None:
    """Do what a worker does with every version that waits."""
    with platform.worker_database.transaction() as session:
        claimed = builds.claim_build(session, platform.settings.queue_rules)
        assert claimed is not None
        while claimed is not None:
            ports = {
                "check": Ports(
                    {"x": {"type": "Float", "required": True}}, {"result": {"type": "Float"}}, free_inputs=False
                )
            }
            values: dict[str, Any] = {"log": "Python 3.11", "interpreter": "3.11.15", "ports": ports, **changes}
            builds.finish_build(session, claimed.token, Built(**values))
            claimed = builds.claim_build(session, platform.settings.queue_rules)


def test_every_published_route_of_this_issue_exists(platform: ApiPlatform) -> None:
    document = httpx2.get(f"{platform.url}/openapi.json").json()
    ours = {(method, path) for path, item in document["paths"].items() for method in item}
    assert operations() - ours == FROM_GIT


def test_root_and_health_need_no_token(platform: ApiPlatform) -> None:
    assert set(check(httpx2.get(f"{platform.url}/")).json()) == {"message", "status", "version"}
    assert check(httpx2.get(f"{platform.url}/health")).json() == {"status": "healthy"}


def test_auth_says_who_you_are(platform: ApiPlatform, client: httpx2.Client, slug: str) -> None:
    me = check(client.get("/auth/me")).json()
    assert (me["preferred_username"], "admin" in me["roles"]) == (f"ann-{slug}", False)
    assert set(check(client.get("/auth/protected")).json()) == {"message", "user_info", "endpoint"}
    assert check(client.get("/auth/admin")).status_code == 403
    admin = platform.client(f"root-{slug}", roles=("admin",))
    assert check(admin.get("/auth/admin")).json()["admin_access"] is True


def test_a_package_is_deployed_built_and_seen(platform: ApiPlatform, client: httpx2.Client) -> None:
    answer = check(deploy(client, factories.archive()))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["functions_deployed"], found["package"]["status"], found["package"]["organization_id"]) == (
        2,
        "deploying",
        None,
    )
    assert found["deployment_qualified"] is False
    build(platform)
    shown = check(client.get(f"/packages/{found['package']['id']}")).json()
    assert shown["status"] == "ready"
    assert {function["name"]: function["io_spec"] is not None for function in shown["functions"]} == {
        "size": True,
        "check": True,
    }
    detail = check(client.get(f"/function-versions/{shown['functions'][0]['id']}")).json()
    assert (detail["package_name"], detail["runtime"]) == ("bolts", "python311")
    assert found["package"]["id"] in {item["id"] for item in check(client.get("/packages")).json()["packages"]}


def test_a_failed_build_shows_its_log(platform: ApiPlatform, client: httpx2.Client) -> None:
    package_id = deploy(client, factories.archive()).json()["package"]["id"]
    build(
        platform,
        log="no module named numpy",
        error_code="handler_broken",
        error_message="A handler cannot be imported.",
        ports={},
    )
    shown = check(client.get(f"/packages/{package_id}")).json()
    versions = client.get(f"/packages/{package_id}/versions").json()["versions"]
    assert (shown["status"], versions[0]["status"], versions[0]["build_log"]) == (
        "error",
        "error",
        "no module named numpy",
    )


def test_versions_only_go_up_and_never_change(platform: ApiPlatform, client: httpx2.Client) -> None:
    package_id = deploy(client, factories.archive(version="1.10.0-rc.2")).json()["package"]["id"]
    path = f"/packages/{package_id}/versions/from-zip"
    codes = [
        check(deploy(client, factories.archive(version=version), path)).json().get("code")
        for version in ("1.10.0-rc.2", "1.9.0", "1.10.0-rc.1", "1.10.0-rc.10", "1.10.0")
    ]
    assert codes == ["version_exists", "version_not_greater", "version_not_greater", None, None]
    other = check(deploy(client, factories.archive("nuts", "2.0.0"), path))
    assert (other.status_code, other.json()["code"]) == (409, "name_differs")
    while_waiting = check(client.get(f"/packages/{package_id}")).json()
    assert while_waiting["version"] == "1.10.0"
    build(platform)


def test_a_version_that_did_not_build_has_not_spent_its_number(platform: ApiPlatform, client: httpx2.Client) -> None:
    def fail() -> None:
        build(platform, log="why", error_code="signature_invalid", error_message="It cannot be read.", ports={})

    package_id = deploy(client, factories.archive(version="2.0.0")).json()["package"]["id"]
    waiting = client.post("/tasks", json={"package": "bolts", "function": "size", "inputs": {"diameter": 0.01}})
    assert waiting.status_code == 201, waiting.text
    fail()
    for _ in range(2):
        again = check(deploy(client, factories.archive(version="2.0.0")))
        assert again.status_code == 200, again.text
        assert check(client.get(f"/packages/{package_id}")).json()["version"] == "2.0.0"
        fail()
    lower = check(deploy(client, factories.archive(version="1.9.0"), f"/packages/{package_id}/versions/from-zip"))
    assert lower.status_code == 200, lower.text
    build(platform)
    shown = client.get(f"/packages/{package_id}/versions").json()["versions"]
    assert {item["version"]: item["status"] for item in shown} == {
        "1.9.0": "ready",
        "2.0.0": "error",
        "2.0.0+failed.1": "error",
        "2.0.0+failed.2": "error",
    }
    assert all(item["build_log"] == "why" for item in shown if item["status"] == "error")
    ended = client.get(f"/tasks/{waiting.json()['id']}").json()
    assert (ended["state"], ended["error"]["code"]) == ("failed", "version_broken")
    assert deploy(client, factories.archive(version="1.9.0")).json()["code"] == "version_exists"


def test_selected_functions_alone_are_deployed(platform: ApiPlatform, client: httpx2.Client) -> None:
    found = check(deploy(client, factories.archive(), deploy_strategy="selective", functions="check")).json()
    assert [function["name"] for function in found["package"]["functions"]] == ["check"]
    unknown = check(
        deploy(client, factories.archive(version="2.0.0"), deploy_strategy="selective", functions="check,none")
    )
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_function")
    assert check(deploy(client, factories.archive(), deploy_strategy="some")).status_code == 422
    build(platform)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"PK not a zip", 400, "archive_unreadable"),
        (factories.archive(manifest="a: [1"), 400, "manifest_unreadable"),
        (factories.archive(manifest='version: "7"\npackage: {name: Bad Name}\n'), 400, "manifest_invalid"),
    ],
)
def test_a_bad_archive_is_refused_with_every_reason(
    client: httpx2.Client, content: bytes, status: int, code: str
) -> None:
    answer = check(deploy(client, content))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert isinstance(answer.json()["detail"], str)


def test_a_manifest_with_many_mistakes_names_them_all(client: httpx2.Client) -> None:
    manifest = (
        'version: "7"\npackage: {name: Bad Name, version: one, surprise: 1}\nruntime: {kind: python, version: '
        '"2.7"}\nfunctions: {}\n'
    )
    answer = check(deploy(client, factories.archive(manifest=manifest)))
    assert len(answer.json()["errors"]) >= 4
    assert all(error["message"] in answer.json()["detail"] for error in answer.json()["errors"])


def test_only_the_owner_deploys_and_others_read_permission_denied(
    platform: ApiPlatform, client: httpx2.Client, slug: str
) -> None:
    owned = deploy(client, factories.archive(visibility="internal"), organization_slug=slug)
    assert owned.status_code == 200, owned.text
    colleague = platform.client(f"bob-{slug}", slug)
    answer = check(deploy(colleague, factories.archive(version="2.0.0", visibility="internal"), organization_slug=slug))
    assert (answer.status_code, answer.json()["detail"].startswith("PermissionDenied: ")) == (403, True)
    viewer = platform.client(f"eve-{slug}", slug, roles=("viewer",))
    assert check(deploy(viewer, factories.archive("nuts"), organization_slug=slug)).status_code == 403
    build(platform)


def test_visibility_archive_and_yank(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    path = f"/packages/{package.package_id}"
    colleague = platform.client(f"bob-{slug}", slug)
    assert check(colleague.post(f"{path}/archive")).status_code == 403
    assert check(client.post(f"{path}/archive")).json()["is_archived"] is True
    assert check(client.post(f"{path}/archive")).status_code == 409
    assert check(colleague.get(path)).status_code == 404
    assert str(package.package_id) not in client.get("/packages").text
    assert str(package.package_id) in client.get("/packages", params={"include_archived": True}).text
    assert check(client.post(f"{path}/unarchive")).json()["is_archived"] is False
    assert check(client.post(f"{path}/unarchive")).status_code == 409
    yanked = check(client.post(f"{path}/yank")).json()["yanked_at"]
    assert check(client.post(f"{path}/yank")).json()["yanked_at"] == yanked
    assert str(package.package_id) not in colleague.get("/packages").text
    assert check(client.post(f"{path}/unyank")).json()["yanked_at"] is None
    assert check(client.patch(f"{path}/visibility", json={"visibility": "private"})).json()["visibility"] == "private"
    assert check(client.post(f"{path}/yank")).status_code == 400
    assert check(colleague.get(path)).status_code == 403
    assert check(client.patch(f"{path}/visibility", json={"visibility": "secret"})).status_code == 422


def test_anonymous_lists_are_empty(platform: ApiPlatform) -> None:
    assert check(httpx2.get(f"{platform.url}/packages")).json() == {"packages": [], "total": 0}
    assert (
        check(httpx2.get(f"{platform.url}/packages", headers={"Authorization": "Bearer nonsense"})).status_code == 401
    )


def test_a_job_from_upload_to_result(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    base = f"/packages/{package.package_id}/functions/solve"
    upload = check(
        client.post(
            f"{base}/uploads", data={"var_name": "deck"}, files={"file": ("Beam.INP", b"*NODE\n", "text/plain")}
        )
    )
    assert upload.status_code == 201, upload.text
    assert (upload.json()["extension"], upload.json()["size_bytes"]) == ("inp", 6)
    job = check(client.post(f"{base}/execute", json={"file_inputs": {"deck": upload.json()["upload_id"]}})).json()
    path = f"/jobs/{job['job_id']}"
    assert check(client.get(path)).json()["status"] == "pending"
    assert check(client.get(f"{path}/result")).status_code == 409
    key = f"org/{package.organization_id}/task/{job['job_id']}/attempt/1/file/report.csv"
    with open(__file__, "rb") as source:  # noqa: PTH123 - any file will do
        stored = platform.storage.put(key, source)
    end = factories.End(result={"n": 1}, files=(("file", "report", "report.csv", key, stored.size_bytes),))
    factories.end_task(platform.worker_database, UUID(job["job_id"]), end)
    result = check(client.get(f"{path}/result")).json()
    assert (result["status"], result["result"]["n"], result["duration_ms"]) == ("completed", 1, 250)
    assert result["result"]["_output_files"]["report"]
    logs = check(client.get(f"{path}/logs")).json()
    assert (logs["entries"], logs["done"]) == ([{"kind": "stdout", "chunk": "hello\n"}], True)
    assert job["job_id"] in {item["job_id"] for item in check(client.get("/jobs")).json()["jobs"]}
    assert client.get(f"{path}/artifacts").json()["artifacts"][0]["name"] == "report"


def test_a_job_that_did_not_complete_is_failed_with_its_sentence(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    path = f"/packages/{package.package_id}/functions/size/execute"
    job = check(client.post(path, json={"payload": {"diameter": 0.01}})).json()
    end = factories.End(state=TaskState.TIMEOUT, result=None, error=("timeout", "Stopped at its time limit of 60 s."))
    factories.end_task(platform.worker_database, UUID(job["job_id"]), end)
    assert check(client.get(f"/jobs/{job['job_id']}")).json()["status"] == "timeout"
    result = check(client.get(f"/jobs/{job['job_id']}/result")).json()
    assert (result["status"], result["error"]) == ("failed", "Stopped at its time limit of 60 s.")


@pytest.mark.parametrize(
    ("function", "body", "status"),
    [
        ("size", {"payload": {"diameter": "12 kg"}}, 422),
        ("size", {"payload": {}}, 422),
        ("size", {"payload": [1]}, 422),
        ("none", {"payload": {}}, 404),
        ("solve", {"file_inputs": {"deck": "no-id"}}, 422),
        ("solve", {"file_inputs": {"deck": str(uuid4())}}, 422),
    ],
)
def test_execute_refuses_what_cannot_run(
    client: httpx2.Client, package: factories.ReadyPackage, function: str, body: dict[str, Any], status: int
) -> None:
    answer = check(client.post(f"/packages/{package.package_id}/functions/{function}/execute", json=body))
    assert answer.status_code == status


def test_uploads_are_checked_against_their_port(client: httpx2.Client, package: factories.ReadyPackage) -> None:
    base = f"/packages/{package.package_id}/functions"
    file = {"file": ("beam.step", b"x", "text/plain")}
    assert check(client.post(f"{base}/solve/uploads", data={"var_name": "deck"}, files=file)).status_code == 422
    assert check(client.post(f"{base}/size/uploads", data={"var_name": "diameter"}, files=file)).status_code == 422
    assert check(client.post(f"{base}/none/uploads", data={"var_name": "deck"}, files=file)).status_code == 404
    assert check(client.post(f"{base}/solve/uploads", files=file)).status_code == 422


def test_an_archive_is_uploaded(client: httpx2.Client) -> None:
    content = factories.archive()
    answer = client.post("/upload/archive", files={"file": ("a.zip", content, "application/zip")})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["size"], len(answer.json()["md5"]), answer.json()["original_filename"]) == (
        len(content),
        32,
        "a.zip",
    )


def test_packages_are_found_by_owner_and_name(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    found = client.get("/registry/lookup/package", params={"owner": slug, "name": "bolts"})
    assert (found.status_code, found.json()["package_id"]) == (200, str(package.package_id))
    assert (
        client.get("/registry/lookup/package", params={"owner": slug, "name": "bolts", "version": "9.9.9"}).status_code
        == 404
    )
    assert client.get("/registry/lookup/package", params={"owner": "nobody", "name": "bolts"}).status_code == 404
    assert client.get("/registry/lookup/workflow", params={"owner": slug, "slug": "bolts"}).status_code == 404


def test_types_answer_without_a_token(platform: ApiPlatform) -> None:
    catalog = check(httpx2.get(f"{platform.url}/types/catalog")).json()
    assert {"Force", "Matrix", "Object"} <= {item["name"] for item in catalog["types"]}
    verdicts = {
        (source, target): check(
            httpx2.post(f"{platform.url}/types/check-connection", json={"source": source, "target": target})
        ).json()
        for source, target in (("Force", "Float"), ("Force", "Length"))
    }
    assert [verdict["compatibility"] for verdict in verdicts.values()] == ["ALLOWED", "REFUSED"]
    broken = check(httpx2.post(f"{platform.url}/types/check-connection", json={"source": "Farce", "target": "Float"}))
    assert broken.status_code == 422


def test_an_organization_is_made_changed_and_deleted(platform: ApiPlatform, client: httpx2.Client) -> None:
    slug = factories.unique("made")
    made = check(client.post("/organizations", json={"slug": slug, "display_name": "Made Here"}))
    assert (made.status_code, made.json()["my_role"], made.json()["admin_count"]) == (201, "admin", 1)
    assert check(client.post("/organizations", json={"slug": slug, "display_name": "Again"})).status_code == 409
    assert check(client.post("/organizations", json={"slug": "UPPER", "display_name": "x"})).status_code == 422
    assert slug in {
        organization["slug"] for organization in check(client.get("/organizations")).json()["organizations"]
    }
    me = check(client.get(f"/organizations/{slug}")).json()["members"][0]["user_id"]
    last = check(client.patch(f"/organizations/{slug}/members/{me}", json={"role": "user"}))
    assert (last.status_code, last.json()["code"]) == (409, "last_administrator")
    assert check(platform.client("stranger").get(f"/organizations/{slug}")).status_code == 404
    wrong = check(client.request("DELETE", f"/organizations/{slug}", json={"confirm_slug": "other"}))
    assert wrong.status_code == 422
    assert check(client.request("DELETE", f"/organizations/{slug}", json={"confirm_slug": slug})).status_code == 204
    assert check(client.get(f"/organizations/{slug}")).status_code == 404


def test_two_deployments_of_one_version_at_once_make_one(platform: ApiPlatform, client: httpx2.Client) -> None:
    import threading

    barrier = threading.Barrier(4)
    codes: list[int] = []

    def run() -> None:
        barrier.wait()
        codes.append(deploy(client, factories.archive("racing")).status_code)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 409, 409, 409]
    with platform.worker_database.transaction() as session:
        version = session.query(PackageVersion).order_by(PackageVersion.created_at.desc()).first()
        assert version is not None
    with platform.storage.open(version.archive_key) as source:
        assert source.read(2) == b"PK"
    build(platform)
