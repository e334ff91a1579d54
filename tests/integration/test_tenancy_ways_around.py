"""Ways around the fence between tenants that are no route's id.

Headers, names, uploads, cursors, keys, addresses, roles.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.services.tasks import read
from support import factories
from support.platform.api_platform import ApiPlatform
from support.platform.services import fresh_database
from support.tenancy.world import DECK, Fenced, World, fenced, make

FENCES = ("both", "filters_alone", "security_alone")


@pytest.fixture(scope="module")
def platforms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fenced]:
    with fresh_database() as server, fenced(server, tmp_path_factory.mktemp("tenancy")) as running:
        yield running


@pytest.fixture(scope="module")
def worlds(platforms: Fenced) -> tuple[World, World]:
    return make(platforms.both), make(platforms.both)


@pytest.fixture(params=FENCES)
def platform(platforms: Fenced, request: pytest.FixtureRequest) -> ApiPlatform:
    chosen: ApiPlatform = getattr(platforms, request.param)
    return chosen


@pytest.fixture
def owner(worlds: tuple[World, World], platform: ApiPlatform) -> World:
    return worlds[0].at(platform)


@pytest.fixture
def stranger(worlds: tuple[World, World], platform: ApiPlatform) -> World:
    return worlds[1].at(platform)


@pytest.fixture
def ours(worlds: tuple[World, World]) -> World:
    """One organization, for what its own members may not do."""
    return worlds[0]


def submission(world: World, **changes: Any) -> dict[str, Any]:
    return {"package": world.package.name, "function": "size", "inputs": {"diameter": "12 mm"}, **changes}


def solving(world: World, upload: str) -> dict[str, Any]:
    return {"package": world.package.name, "function": "solve", "files": {"deck": upload}}


def said(answer: httpx2.Response, *names: str) -> tuple[int, str]:
    text = answer.text
    for name in names:
        text = text.replace(name, "?")
    return answer.status_code, text


def gives_something(answer: httpx2.Response) -> bool:
    """Neither absent nor an empty list nor a bulk of refusals."""
    return (
        answer.status_code != 404
        and answer.json() != {"tasks": [], "next_cursor": None}
        and answer.json().get("accepted") != 0
    )


# Names


def test_the_header_opens_no_other_organization(owner: World, stranger: World) -> None:
    for method, path, body in (
        ("GET", "/tasks", None),
        ("GET", f"/tasks/{owner.ended}", None),
        ("GET", f"/tasks/{owner.ended}/artifacts", None),
        ("POST", f"/tasks/{owner.queued}/cancel", None),
        ("POST", "/tasks", submission(owner)),
        ("POST", "/tasks/bulk", {"tasks": [submission(owner)]}),
    ):
        with stranger.client(**{"MecaPy-Organization": owner.slug}) as client:
            refused = client.request(method, path, json=body)
        with owner.client(**{"MecaPy-Organization": owner.slug}) as client:
            given = client.request(method, path, json=body)
        assert given.status_code < 300, given.text
        assert gives_something(given)
        assert not gives_something(refused), refused.text


def test_another_s_slug_in_the_header_is_answered_as_one_that_nobody_has(
    platforms: Fenced, worlds: tuple[World, World]
) -> None:
    owner, stranger = worlds
    free = factories.unique()
    for platform in (platforms.both, platforms.filters_alone):
        answers = []
        for slug in (owner.slug, free, owner.name):
            with stranger.at(platform).client(**{"MecaPy-Organization": slug}) as client:
                answers.append(said(client.get("/tasks")))
        assert {status for status, _ in answers} == {404}
        assert len(set(answers)) == 1


def test_a_package_of_another_has_no_name_here(owner: World, stranger: World) -> None:
    with stranger.client() as client:
        for name in (owner.package.name, f"{owner.slug}/{owner.package.name}", f"{owner.name}/{owner.package.name}"):
            nobody_s = "/".join(factories.unique() for _ in name.split("/"))
            refused = client.post("/tasks", json=submission(owner, package=name))
            nowhere = client.post("/tasks", json=submission(owner, package=nobody_s))
            assert (refused.status_code, refused.json()["code"]) == (404, "package_not_found")
            assert said(refused, name) == said(nowhere, nobody_s)
    with owner.client() as client:
        assert client.post("/tasks", json=submission(owner)).status_code == 201


def test_the_same_package_name_in_two_organizations_means_one_s_own(owner: World, stranger: World) -> None:
    name = factories.unique("same")
    theirs, mine = owner.new_package(name=name), stranger.new_package(name=name)
    with stranger.client() as client:
        task = client.post("/tasks", json=submission(stranger, package=name)).json()
    assert task["package"]["id"] == str(mine.package_id) != str(theirs.package_id)


def test_each_query_about_a_task_filters_by_itself(worlds: tuple[World, World]) -> None:
    """Without row-level security and without the look at the task that comes before them in a route."""
    owner = worlds[0]
    ann, eve = (world.platform.actor(world.name, world.slug) for world in worlds)
    task_id = UUID(owner.ended)
    with owner.platform.worker_database.transaction() as session:
        for query in (read.attempts, read.artifacts):
            assert (len(query(session, ann, task_id)), query(session, eve, task_id)) == (1, [])
        assert (len(read.get_many(session, ann, [task_id])), read.get_many(session, eve, [task_id])) == (1, [])
        assert read.logs(session, ann, task_id).entries
        with pytest.raises(NotFoundError):
            read.logs(session, eve, task_id)


# Files


def test_an_upload_of_another_is_no_input(owner: World, stranger: World) -> None:
    nobody_s = str(uuid4())
    with stranger.client() as client:
        for path, body in (
            ("/tasks", lambda upload: solving(stranger, upload)),
            (
                f"/packages/{stranger.package.package_id}/functions/solve/execute",
                lambda upload: {"file_inputs": {"deck": upload}},
            ),
        ):
            refused, nowhere = (client.post(path, json=body(upload)) for upload in (owner.upload, nobody_s))
            assert refused.status_code == 422
            assert said(refused) == said(nowhere)
        bulk = client.post(
            "/tasks/bulk", json={"tasks": [solving(stranger, owner.upload), solving(stranger, nobody_s)]}
        ).json()
        assert bulk["accepted"] == 0
        assert bulk["results"][0]["error"] == bulk["results"][1]["error"]
    with owner.client() as client:
        assert client.post("/tasks", json=solving(owner, owner.upload)).status_code == 201


def test_an_address_opens_the_object_that_it_was_signed_for_and_no_other(owner: World, stranger: World) -> None:
    with owner.client() as client:
        theirs = httpx2.URL(client.get(f"/tasks/{owner.ended}/artifacts").json()["artifacts"][0]["url"])
        assert client.get(theirs.raw_path.decode()).content == DECK
    with stranger.client() as client:
        mine = httpx2.URL(client.get(f"/tasks/{stranger.ended}/artifacts").json()["artifacts"][0]["url"])
        nowhere = theirs.path.replace(owner.ended, str(uuid4()))
        answers = {said(client.get(path, params=mine.params), path) for path in (theirs.path, nowhere)}
        answers |= {said(client.get(path), path) for path in (theirs.path, nowhere)}
        assert {status for status, _ in answers} == {403}
        assert len(answers) == 1
        climbing = client.get(
            f"{mine.path}/../../../../../../{theirs.path.removeprefix('/storage/')}", params=mine.params
        )
        assert climbing.status_code in {403, 404}
        for change in ({"expires": "9999999999"}, {"filename": "x.txt"}, {"signature": "0" * 64}):
            assert client.get(mine.path, params={**mine.params, **change}).status_code == 403


# Places and keys


def test_a_cursor_of_another_leads_to_one_s_own_tasks(owner: World, stranger: World) -> None:
    own = {stranger.new_task() for _ in range(3)}
    for _ in range(3):
        owner.new_task()
    with owner.client() as client:
        cursor = client.get("/tasks", params={"limit": 1}).json()["next_cursor"]
    with stranger.client() as client:
        answer = client.get("/tasks", params={"limit": 200, "cursor": cursor})
    found = {task["id"] for task in answer.json()["tasks"]}
    assert own <= found
    assert not {mark for mark in owner.marks - stranger.marks if mark in answer.text}


def test_the_same_idempotency_key_in_two_organizations_makes_two_tasks(owner: World, stranger: World) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    with owner.client() as mine, stranger.client() as theirs:
        first = mine.post("/tasks", json=submission(owner), headers=headers)
        other = theirs.post("/tasks", json=submission(stranger), headers=headers)
        again = mine.post("/tasks", json=submission(owner), headers=headers)
    assert [answer.status_code for answer in (first, other, again)] == [201, 201, 200]
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]


def test_members_of_another_are_no_members_here(owner: World, stranger: World) -> None:
    with stranger.client() as client:
        url = f"/organizations/{stranger.slug}/members"
        answers = [
            client.patch(f"{url}/{who}", json={"role": "admin"}) for who in (owner.user_id, owner.colleague_id, uuid4())
        ]
        assert [answer.status_code for answer in answers] == [404, 404, 404]
        assert client.patch(f"{url}/{stranger.colleague_id}", json={"role": "user"}).status_code == 200


# Inside one organization


def test_what_is_personal_is_hidden_from_colleagues(ours: World) -> None:
    name = factories.unique("own")
    database = ours.platform.worker_database
    package = factories.ready_package(database, ours.personal_id, ours.user_id, name=name, visibility="public")
    asked = {"package": f"{ours.name}/{package.name}", "function": "size", "inputs": {"diameter": 0.01}}
    with ours.client() as ann, ours.colleague("bob") as bob:
        task = ann.post("/tasks", json=asked)
        assert task.status_code == 201, task.text
        for path in (f"/tasks/{task.json()['id']}", f"/jobs/{task.json()['id']}", f"/packages/{package.package_id}"):
            assert (ann.get(path).status_code, bob.get(path).status_code) == (200, 404)
        assert bob.post("/tasks", json=asked).status_code == 404
        assert task.json()["id"] not in bob.get("/tasks", params={"limit": 200}).text
        assert bob.get(f"/tasks/{ours.ended}").status_code == 200, "what is the organization's is shown to its members"


def test_a_private_package_is_refused_to_colleagues_and_absent_for_strangers(worlds: tuple[World, World]) -> None:
    ours, stranger = worlds
    package = ours.new_package(visibility="private")
    asked = submission(ours, package=package.name)
    looks = (
        f"/packages/{package.package_id}",
        f"/packages/{package.package_id}/versions",
        f"/function-versions/{package.functions['size']}",
    )
    execute = f"/packages/{package.package_id}/functions/size/execute"
    with ours.client() as ann, ours.colleague("bob") as bob, stranger.client() as eve:
        for path in looks:
            assert [client.get(path).status_code for client in (ann, bob, eve)] == [200, 403, 404]
        for path, body in (("/tasks", asked), (execute, {"payload": {"diameter": 0.01}})):
            assert [client.post(path, json=body).status_code for client in (bob, eve)] == [403, 404]
            assert ann.post(path, json=body).status_code in {200, 201}
        assert [
            package.name in client.get("/packages", params={"per_page": 100}).text for client in (ann, bob, eve)
        ] == [
            True,
            False,
            False,
        ]
        named = {"owner": ours.slug, "name": package.name}
        assert [client.get("/registry/lookup/package", params=named).status_code for client in (ann, bob, eve)] == [
            200,
            404,
            404,
        ]


def test_a_viewer_looks_but_starts_stops_and_changes_nothing(ours: World) -> None:
    package = f"/packages/{ours.package.package_id}"
    queued = ours.new_task()
    zipped = {"file": ("p.zip", factories.archive(factories.unique("p"), visibility="internal"), "application/zip")}
    with ours.colleague("vic", "viewer") as vic:
        for path in (
            f"/tasks/{queued}",
            f"/tasks/{ours.ended}/result",
            f"/tasks/{ours.ended}/artifacts",
            package,
            f"/organizations/{ours.slug}",
        ):
            assert vic.get(path).status_code == 200
        refused = [
            vic.post("/tasks", json=submission(ours)),
            vic.post(f"/tasks/{queued}/cancel"),
            vic.post(f"/tasks/{ours.ended}/cancel"),
            vic.post(f"/tasks/{ours.ended}/retry"),
            vic.post(f"{package}/functions/size/execute", json={"payload": {"diameter": 0.01}}),
            vic.post(
                f"{package}/functions/solve/uploads",
                data={"var_name": "deck"},
                files={"file": ("a.inp", DECK, "text/plain")},
            ),
            vic.post("/packages/from-zip", params={"organization_slug": ours.slug}, files=zipped),
            vic.post(f"{package}/versions/from-zip", files=zipped),
            *(vic.post(f"{package}/{step}") for step in ("archive", "unarchive", "yank", "unyank")),
            vic.patch(f"{package}/visibility", json={"visibility": "public"}),
            vic.patch(f"/organizations/{ours.slug}/members/{ours.colleague_id}", json={"role": "admin"}),
            vic.request("DELETE", f"/organizations/{ours.slug}", json={"confirm_slug": ours.slug}),
        ]
        assert [answer.status_code for answer in refused] == [403] * len(refused)
        bulk = vic.post("/tasks/bulk", json={"tasks": [submission(ours)]}).json()
        assert bulk["results"][0]["error"]["code"] == "viewer_may_not_submit"
    with ours.client() as ann:
        assert ann.get(f"/tasks/{queued}").json()["state"] == "queued"
        assert ann.post(f"/tasks/{queued}/cancel").json()["state"] == "cancelled"


def test_a_member_who_is_no_administrator_changes_no_roles_and_no_package_of_a_colleague(ours: World) -> None:
    package = f"/packages/{ours.new_package().package_id}"
    with ours.colleague("bob") as bob:
        refused = [
            bob.patch(f"/organizations/{ours.slug}/members/{ours.colleague_id}", json={"role": "admin"}),
            bob.request("DELETE", f"/organizations/{ours.slug}", json={"confirm_slug": ours.slug}),
            bob.post(f"{package}/archive"),
            bob.post(f"{package}/yank"),
        ]
        assert [answer.status_code for answer in refused] == [403] * len(refused)
        assert bob.get(f"/organizations/{ours.slug}").status_code == 200


def test_an_administrator_may_archive_a_colleague_s_package_and_bring_it_back(ours: World) -> None:
    name = factories.unique("p")
    made = factories.ready_package(ours.platform.worker_database, ours.organization_id, ours.colleague_id, name=name)
    with ours.client() as ann:
        archived = ann.post(f"/packages/{made.package_id}/archive")
        assert (archived.status_code, archived.json()["is_archived"]) == (200, True)
        assert ann.get(f"/packages/{made.package_id}").status_code == 404
        back = ann.post(f"/packages/{made.package_id}/unarchive")
        assert (back.status_code, back.json()["is_archived"]) == (200, False)
        hidden = ann.patch(f"/packages/{made.package_id}/visibility", json={"visibility": "private"})
        assert (hidden.status_code, hidden.json()["visibility"]) == (200, "private")
        assert ann.get(f"/packages/{made.package_id}").status_code == 403


def test_who_has_left_the_organization_sees_nothing_of_it(ours: World) -> None:
    name = f"gil-{ours.slug}"
    with ours.platform.client(name, ours.slug) as member, ours.platform.client(name) as left:
        assert member.get(f"/tasks/{ours.ended}").status_code == 200
        assert left.get(f"/tasks/{ours.ended}").status_code == 404
        assert ours.ended not in left.get("/tasks").text
