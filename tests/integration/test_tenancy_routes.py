"""Nothing of one organization reaches another through any route: with both fences, with either alone.

With none it leaks.
"""

from collections.abc import Iterator

import httpx2
import pytest

from support.platform.api_platform import ApiPlatform
from support.platform.services import fresh_database
from support.tenancy.routes import ABSENT, ROUTES, Ask, Shows, rows, status_of
from support.tenancy.world import Fenced, World, fenced, make

FENCES = ("both", "filters_alone", "security_alone")
THINGS = [pytest.param(*route, id=" ".join(route)) for route in rows(Shows.THING)]
LISTS = [pytest.param(path, id=path) for _, path in rows(Shows.OWN)]
VOLATILE = {"instance"}


@pytest.fixture(scope="module")
def platforms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fenced]:
    with fresh_database() as server, fenced(server, tmp_path_factory.mktemp("tenancy")) as running:
        yield running


@pytest.fixture(scope="module")
def owner(platforms: Fenced) -> World:
    return make(platforms.both)


@pytest.fixture(scope="module")
def stranger(platforms: Fenced) -> World:
    return make(platforms.both)


@pytest.fixture(scope="module")
def intruder(platforms: Fenced) -> World:
    """The stranger of the tests without fences, apart: what leaks there becomes this one's own."""
    return make(platforms.both)


@pytest.fixture(params=FENCES)
def platform(platforms: Fenced, request: pytest.FixtureRequest) -> ApiPlatform:
    chosen: ApiPlatform = getattr(platforms, request.param)
    return chosen


def ask_for(world: World, method: str, path: str) -> Ask:
    make_ask = ROUTES[method, path].ask
    assert make_ask is not None
    return make_ask(world)


def without_names(answer: httpx2.Response, ask: Ask) -> tuple[int, str]:
    """Status and body, with the names that were asked for blotted out.

    What is left must not tell there from not there.
    """
    text = answer.text
    for target in ask.targets:
        text = text.replace(target, "?")
    return answer.status_code, text


def betrayed(text: str, world: World) -> set[str]:
    return {mark for mark in world.marks if mark in text}


def test_every_route_of_the_document_has_a_row(platforms: Fenced) -> None:
    document = httpx2.get(f"{platforms.both.url}/openapi.json").json()
    assert {(method.upper(), path) for path, item in document["paths"].items() for method in item} == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), THINGS)
def test_a_stranger_finds_nothing_where_the_owner_finds_the_thing(
    platform: ApiPlatform, owner: World, stranger: World, method: str, path: str
) -> None:
    ask = ask_for(owner.at(platform), method, path)
    elsewhere = ask.elsewhere()
    with stranger.at(platform).client() as client:
        refused, nowhere = ask.send(client, method), elsewhere.send(client, method)
    assert status_of(refused) == ABSENT, refused.text
    assert without_names(refused, ask) == without_names(nowhere, elsewhere)
    assert betrayed(refused.text, owner) <= set(ask.targets) | {owner.package.name}
    with owner.at(platform).client() as client:
        given = ask.send(client, method)
    assert 200 <= status_of(given) < 300, given.text


@pytest.mark.parametrize("path", LISTS)
def test_a_list_holds_nothing_of_another(platform: ApiPlatform, owner: World, stranger: World, path: str) -> None:
    owner.new_ended_task()
    with owner.at(platform).client() as mine, stranger.at(platform).client() as theirs:
        own, other = mine.get(path), theirs.get(path)
    assert (own.status_code, other.status_code) == (200, 200), (own.text, other.text)
    assert betrayed(own.text, owner)
    assert betrayed(other.text, stranger)
    assert betrayed(own.text, stranger) == betrayed(other.text, owner) == set()


@pytest.mark.parametrize("path", [path for method, path in rows(Shows.EVERYBODY, Shows.CALLER) if method == "GET"])
def test_what_everybody_may_ask_names_no_tenant(
    platform: ApiPlatform, owner: World, stranger: World, path: str
) -> None:
    with stranger.at(platform).client() as client:
        assert betrayed(client.get(path).text, owner) == set()


@pytest.mark.parametrize(("method", "path"), THINGS)
def test_with_both_fences_gone_the_thing_leaks(
    platforms: Fenced, owner: World, intruder: World, method: str, path: str
) -> None:
    """Or the tests above would show nothing."""
    ask = ask_for(owner.at(platforms.none), method, path)
    with intruder.at(platforms.none).client() as client:
        answer = ask.send(client, method)
    assert 200 <= status_of(answer) < 300, answer.text


@pytest.mark.parametrize("path", LISTS)
def test_with_both_fences_gone_the_list_leaks(platforms: Fenced, owner: World, intruder: World, path: str) -> None:
    task_id = owner.new_task()
    signs = {
        "/packages": str(owner.package.package_id),
        "/organizations": owner.slug,
        "/schedules": str(owner.user_id),
        "/studies": str(owner.user_id),
        "/runs": str(owner.user_id),
        "/approvals": str(owner.user_id),
        "/workflows": str(owner.user_id),
    }
    sign = signs.get(path, task_id)
    with intruder.at(platforms.none).client() as client:
        answer = client.get(
            path, params={"/packages": {"per_page": 100}, "/organizations": {}}.get(path, {"limit": 200})
        )
    assert (sign in answer.text) is ROUTES["GET", path].leaks
