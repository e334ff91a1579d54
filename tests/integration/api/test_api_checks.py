"""Checks over HTTP.

An organization's policy, who may change it, the report of a version, and what a stopped version looks like.
"""

from uuid import uuid4

import httpx2
import pytest

from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.core.checks.policy import DEFAULT_POLICY
from mecapy_platform.core.checks.report import Report
from mecapy_platform.db.tables import PackageVersion
from mecapy_platform.services import builds
from mecapy_platform.services.builds import Built
from support import factories
from support.platform.api_platform import ApiPlatform

FOUND = Finding(CheckName.HOSTILE, "miner", Severity.HIGH, "main.py", 3, "It mines.", "Do not.")


@pytest.fixture
def slug() -> str:
    return factories.unique()


@pytest.fixture
def admin(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"ann-{slug}", slug)


@pytest.fixture
def path(admin: httpx2.Client, slug: str) -> str:
    assert admin.get("/auth/me").status_code == 200
    return f"/organizations/{slug}/checks"


def stored(
    platform: ApiPlatform, slug: str, report: dict[str, object], *, error: str | None = None
) -> factories.ReadyPackage:
    """A version whose build ended with this report."""
    actor = platform.actor(f"ann-{slug}", slug)
    package = factories.ready_package(
        platform.worker_database, actor.organization.organization_id, actor.user_id, status="building"
    )
    with platform.worker_database.transaction() as session:
        token = uuid4()
        session.get_one(PackageVersion, package.version_id).build_token = token
        session.flush()
        assert builds.finish_build(
            session, token, Built(log="", report={"checks": report}, error_code=error, error_message=error)
        )
    return package


def test_without_a_word_the_platforms_policy_holds(admin: httpx2.Client, path: str, slug: str) -> None:
    answer = admin.get(path)
    assert answer.status_code == 200
    assert answer.json() == {"organization": slug, "checks": DEFAULT_POLICY.as_dict(), "changes": {}}


def test_an_administrator_changes_it_and_takes_it_back(admin: httpx2.Client, path: str) -> None:
    changed = admin.put(path, json={"checks": {"bandit": {"mode": "enforce", "from": "medium"}, "secrets": "off"}})
    assert changed.status_code == 200
    now = admin.get(path).json()
    assert (now["checks"]["bandit"], now["checks"]["secrets"]["mode"]) == ({"mode": "enforce", "from": "medium"}, "off")
    assert admin.put(path, json={"checks": {}}).json()["checks"] == DEFAULT_POLICY.as_dict()


@pytest.mark.parametrize("role", ["user", "viewer"])
def test_a_member_without_the_right_may_look_but_not_change(
    platform: ApiPlatform, path: str, slug: str, role: str
) -> None:
    roles = ("viewer",) if role == "viewer" else ()
    member = platform.client(f"bob-{slug}", slug, roles=roles)
    assert member.get(path).status_code == 200
    refused = member.put(path, json={"checks": {"hostile": "off"}})
    assert (refused.status_code, refused.json()["code"]) == (403, "administrator_needed")
    assert member.get(path).json()["changes"] == {}


def test_for_everybody_else_the_organization_is_absent(platform: ApiPlatform, path: str) -> None:
    stranger = platform.client(factories.unique("eve"), factories.unique())
    for answer in (stranger.get(path), stranger.put(path, json={"checks": {"hostile": "off"}})):
        assert (answer.status_code, answer.json()["code"]) == (404, "organization_not_found")


def test_without_a_token_nothing_is_told(platform: ApiPlatform, path: str) -> None:
    assert httpx2.get(platform.url + path).status_code == 401


def test_everybody_sets_the_policy_of_their_personal_organization(platform: ApiPlatform) -> None:
    name = factories.unique("ann")
    client = platform.client(name)
    assert client.put(f"/organizations/user:{name}/checks", json={"checks": {"bandit": "off"}}).status_code == 200
    assert client.get(f"/organizations/{name}/checks").json()["changes"] == {"bandit": "off"}


def test_a_policy_that_cannot_be_read_changes_nothing(admin: httpx2.Client, path: str) -> None:
    answer = admin.put(path, json={"checks": {"bandits": "off", "hostile": "never"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "checks_invalid")
    assert {error["path"] for error in answer.json()["errors"]} == {"checks.bandits", "checks.hostile.mode"}
    assert admin.get(path).json()["changes"] == {}


def test_the_policy_goes_to_the_builder_with_the_version(
    platform: ApiPlatform, admin: httpx2.Client, path: str, slug: str
) -> None:
    assert admin.put(path, json={"checks": {"bandit": "off"}}).status_code == 200
    archive = factories.archive(factories.unique("p"))
    deployed = admin.post(
        "/packages/from-zip", params={"organization_slug": slug}, files={"file": ("p.zip", archive, "application/zip")}
    )
    assert deployed.status_code == 200
    name = deployed.json()["package"]["name"]
    policies = {}
    with platform.worker_database.transaction() as session:
        while (build := builds.claim_build(session, platform.settings.queue_rules)) is not None:
            policies[build.manifest["package"]["name"]] = build.checks
            builds.finish_build(session, build.token, Built(log=""))
    assert policies[name] == {"bandit": "off"}


def test_the_report_of_a_version_has_a_path_of_its_own(platform: ApiPlatform, admin: httpx2.Client, slug: str) -> None:
    report = Report(DEFAULT_POLICY, dependencies=[{"name": "numpy", "version": "2.1.0", "licence": "BSD-3-Clause"}])
    report.add([FOUND])
    package = stored(platform, slug, report.as_dict(), error="checks_failed")
    answer = admin.get(f"/packages/{package.package_id}/versions/1.2.0/checks")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["version"], told["status"]) == ("1.2.0", "error")
    assert told["findings"] == [{**FOUND.as_dict(), "stops": True}]
    assert told["dependencies"][0]["licence"] == "BSD-3-Clause"
    assert {check["check"]: check["state"] for check in told["checks"]}["hostile"] == "stopped"


def test_the_list_of_versions_tells_the_states_without_the_findings(
    platform: ApiPlatform, admin: httpx2.Client, slug: str
) -> None:
    report = Report(DEFAULT_POLICY)
    report.add([FOUND])
    package = stored(platform, slug, report.as_dict())
    (version,) = admin.get(f"/packages/{package.package_id}/versions").json()["versions"]
    assert "findings" not in version["report"]["checks"]
    assert {check["check"] for check in version["report"]["checks"]["checks"]} == set(CheckName)


def test_a_version_that_is_building_has_an_empty_report(platform: ApiPlatform, admin: httpx2.Client, slug: str) -> None:
    actor = platform.actor(f"ann-{slug}", slug)
    package = factories.ready_package(
        platform.worker_database, actor.organization.organization_id, actor.user_id, status="building"
    )
    told = admin.get(f"/packages/{package.package_id}/versions/1.2.0/checks").json()
    assert (told["status"], told["checks"], told["findings"]) == ("building", [], [])


def test_a_version_that_does_not_exist_is_absent(platform: ApiPlatform, admin: httpx2.Client, slug: str) -> None:
    package = stored(platform, slug, {})
    answer = admin.get(f"/packages/{package.package_id}/versions/9.9.9/checks")
    assert (answer.status_code, answer.json()["code"]) == (404, "version_not_found")
