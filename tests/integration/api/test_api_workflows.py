"""Workflows over HTTP: every published route, its answers validated against the published document."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from mecapy_platform.db.tables import Package
from support import factories
from support.graphs import edge, function_node, input_node, node
from support.platform.api_platform import ApiPlatform
from support.platform.published_contract import check

Json = dict[str, Any]


@pytest.fixture
def slug() -> str:
    return factories.unique()


@pytest.fixture
def client(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"ann-{slug}", slug)


@pytest.fixture
def colleague(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"bob-{slug}", slug)


@pytest.fixture
def package(platform: ApiPlatform, slug: str) -> factories.ReadyPackage:
    actor = platform.actor(f"ann-{slug}", slug)
    return factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)


def make(client: httpx2.Client, organization: str | None, name: str | None = None) -> Json:
    name = name or factories.unique("w")
    asked = {"slug": name, "name": "A check", "description": "of bolts", "organization_slug": organization}
    answer = check(client.post("/workflows", json=asked))
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


def graph_of(package: factories.ReadyPackage, **more: Any) -> Json:
    nodes = [
        input_node("d", "Length"),
        input_node("load", "Force", required=False, default="20 kN"),
        {**function_node("size", package.functions["size"]), "position_x": 120, "custom_label": "Size"},
    ]
    return {"nodes": nodes, "edges": [edge("d.value", "size.diameter"), edge("load.value", "size.load")], **more}


def save(client: httpx2.Client, workflow: Json, graph: Json) -> Json:
    """Conformity is judged on graphs of published kinds; ours are further values of `node_kind`."""
    answer = client.post(f"/workflows/{workflow['slug']}/versions", json=graph)
    assert answer.status_code == 201, answer.text
    saved: Json = answer.json()
    if {item.get("node_kind", "function") for item in graph["nodes"]} <= {"function", "input"}:
        check(answer)
    return saved


def test_an_empty_workflow_is_its_owners_alone(client: httpx2.Client, colleague: httpx2.Client, slug: str) -> None:
    made = make(client, slug)
    assert (made["latest_version"], made["visibility_effective"], made["organization_slug"]) == (None, "private", slug)
    assert check(client.get(f"/workflows/{made['id']}")).json() == made
    hidden = check(colleague.get(f"/workflows/{made['slug']}"))
    assert (hidden.status_code, hidden.json()["code"]) == (403, "workflow_private")
    assert made["id"] not in check(colleague.get("/workflows")).text


def test_a_workflow_belongs_to_its_maker_where_no_organization_is_named(client: httpx2.Client, slug: str) -> None:
    name = factories.unique("w")
    own, shared = make(client, None, name), make(client, slug, name)
    assert (own["organization_id"], own["organization_slug"]) == (None, None)
    again = check(client.post("/workflows", json={"slug": name, "name": "x", "organization_slug": slug}))
    assert (again.status_code, again.json()["code"]) == (409, "workflow_exists")
    assert own["id"] != shared["id"]


@pytest.mark.parametrize("bad", ["a b", "a/b", "-a", str(UUID(int=7)), "", "x" * 101])
def test_a_slug_that_no_address_can_hold_is_refused(client: httpx2.Client, bad: str) -> None:
    answer = check(client.post("/workflows", json={"slug": bad, "name": "x"}))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "slug"]


def test_versions_are_numbered_and_never_change(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    graph = graph_of(package)
    first = save(client, made, graph)
    second = save(client, made, {**graph, "edges": list(reversed(graph["edges"]))})
    assert [(item["version"], item["is_latest"]) for item in (first, second)] == [(1, True), (2, True)]
    shown = check(client.get(f"/workflows/{made['slug']}")).json()
    assert (shown["latest_version"]["id"], shown["visibility_effective"]) == (second["id"], f"internal@{slug}")
    assert shown["updated_at"] > made["updated_at"]
    listed = client.get(f"/workflows/{made['slug']}/versions").json()["versions"]
    assert [(item["version"], item["is_latest"], item["node_count"]) for item in listed] == [
        (2, True, 3),
        (1, False, 3),
    ]
    assert client.get(f"/workflows/{made['slug']}/versions/1").json() == {**first, "is_latest": False}
    assert client.get(f"/workflows/{made['slug']}/versions/3").status_code == 404


def test_versions_saved_at_once_follow_each_other(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made, graph = make(client, slug), graph_of(package)
    with ThreadPoolExecutor(4) as pool:
        saved = list(pool.map(lambda _: save(client, made, graph)["version"], range(8)))
    assert sorted(saved) == list(range(1, 9))


def test_a_slug_that_is_taken_at_once_by_several_is_given_to_the_first(client: httpx2.Client, slug: str) -> None:
    asked = {"slug": factories.unique("w"), "name": "w", "organization_slug": slug}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: check(client.post("/workflows", json=asked)).status_code, range(8)))
    assert sorted(answers) == [201, *[409] * 7]


def test_nodes_come_back_as_published(client: httpx2.Client, slug: str, package: factories.ReadyPackage) -> None:
    made = make(client, slug)
    saved = save(client, made, graph_of(package))
    assert saved["nodes"][2] == {
        "node_key": "size",
        "node_kind": "function",
        "function_version_id": str(package.functions["size"]),
        "input_spec": None,
        "position_x": 120.0,
        "position_y": 0.0,
        "custom_label": "Size",
    }
    assert saved["nodes"][1]["input_spec"] == {
        "label": "load",
        "type_expr": "Force",
        "description": None,
        "required": False,
        "default": "20 kN",
    }
    assert saved["edges"][0] == edge("d.value", "size.diameter") | {"alias": None}
    again = save(client, made, {"nodes": saved["nodes"], "edges": saved["edges"]})
    assert (again["nodes"], again["edges"]) == (saved["nodes"], saved["edges"])


def test_our_kinds_come_back_with_their_fields(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    mapped = node(
        "all", "map", body={"function_version_id": str(package.functions["size"])}, over=["diameter"], parallel=4
    )
    graph = {"nodes": [input_node("d", "list[Length]"), mapped], "edges": [edge("d.value", "all.diameter")]}
    saved = save(client, made, {**graph, "on_failure": None})
    kept = next(item for item in saved["nodes"] if item["node_key"] == "all")
    assert (kept["node_kind"], kept["over"], kept["parallel"]) == ("map", ["diameter"], 4)


def test_a_graph_that_does_not_hold_is_reported_alike_by_both_routes(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    graph = graph_of(package)
    graph["nodes"][0]["input_spec"]["type_expr"] = "Force"
    graph["edges"].pop()
    report = check(client.post(f"/workflows/{made['slug']}/validate", json=graph))
    refused = check(client.post(f"/workflows/{made['slug']}/versions", json=graph))
    assert (report.status_code, refused.status_code) == (200, 409)
    assert refused.json()["detail"] == report.json()
    found = report.json()
    assert not found["valid"]
    assert [item["port"] for item in found["unconnected_function_inputs"]] == ["load"]
    assert "siblings under Float" in found["subtyping_violations"][0]["reason"]
    assert check(client.get(f"/workflows/{made['slug']}")).json()["latest_version"] is None
    right = check(client.post(f"/workflows/{made['slug']}/validate", json=graph_of(package))).json()
    assert right["valid"]
    assert all(not value for name, value in right.items() if name != "valid")


@pytest.mark.parametrize(
    ("change", "category"),
    [
        (lambda graph: graph["edges"].append(edge("size.stress", "size.load")), "cycles"),
        (lambda graph: graph["edges"].append(edge("d.value", "size.diameter")), "duplicate_target_ports"),
        (lambda graph: graph["edges"].append(edge("d.out", "size.load")), "unknown_source_ports"),
        (lambda graph: graph["edges"].append(edge("d.value", "size.width")), "unknown_target_ports"),
        (lambda graph: graph["edges"].append(edge("none.value", "size.load")), "unknown_nodes"),
        (lambda graph: graph["nodes"].append(function_node("x", uuid4())), "unknown_function_versions"),
        (lambda graph: graph["nodes"].append(function_node("x", "1")), "unknown_function_versions"),
        (lambda graph: graph["nodes"].append(input_node("x", "Colour")), "invalid_input_node_types"),
    ],
)
def test_each_published_category_is_reported(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage, change: Any, category: str
) -> None:
    made, graph = make(client, slug), graph_of(package)
    change(graph)
    answer = check(client.post(f"/workflows/{made['slug']}/validate", json=graph))
    assert answer.json()[category], answer.text


def test_functions_of_others_are_unknown(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made, graph = make(client, slug), graph_of(package)
    other = factories.unique()
    stranger = platform.actor(f"ann-{other}", other)
    theirs = factories.ready_package(platform.worker_database, stranger.organization.organization_id, stranger.user_id)
    private = factories.ready_package(
        *(platform.worker_database, package.organization_id, stranger.user_id), name="secret", visibility="private"
    )
    graph["nodes"] += [
        function_node("theirs", theirs.functions["size"]),
        function_node("private", private.functions["size"]),
    ]
    report = client.post(f"/workflows/{made['slug']}/validate", json=graph).json()
    assert {item["node_key"] for item in report["unknown_function_versions"]} == {"theirs", "private"}


def test_functions_that_are_being_built_have_no_types_yet(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made, graph = make(client, slug), graph_of(package)
    waiting = factories.ready_package(
        *(platform.worker_database, package.organization_id, uuid4()),
        name="new",
        status="building",
        functions={"f": {}},
    )
    graph["nodes"].append(function_node("new", waiting.functions["f"]))
    report = client.post(f"/workflows/{made['slug']}/validate", json=graph).json()
    (found,) = report["functions_without_typed_ports"]
    assert (found["node_key"], "being built" in found["message"]) == ("new", True)


def test_a_node_of_the_wrong_form_is_refused_with_its_place(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    graph = graph_of(package, edges=[{"source_node_key": "d"}])
    for route in ("validate", "versions"):
        answer = check(client.post(f"/workflows/{made['slug']}/{route}", json=graph))
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "edges", "0", "source_port"]
    assert check(client.post(f"/workflows/{made['slug']}/validate", json={"nodes": {}})).status_code == 422


def test_graphs_beyond_the_limits_are_refused_by_name(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    version_id = package.functions["size"]
    many = {"nodes": [function_node(f"n{index}", version_id) for index in range(5_001)], "edges": []}
    for route in ("validate", "versions"):
        answer = check(client.post(f"/workflows/{made['slug']}/{route}", json=many))
        assert (answer.status_code, answer.json()["code"]) == (413, "graph_too_large")
        assert "5001 nodes, the limit is 5,000" in answer.json()["detail"]
    large = {"nodes": [node("c", "constant", type_expr="String", value="x" * (4 << 20))]}
    answer = check(client.post(f"/workflows/{made['slug']}/validate", json=large))
    assert (answer.status_code, answer.json()["code"]) == (413, "graph_too_large")


def test_a_graph_of_5000_nodes_is_kept(client: httpx2.Client, slug: str, package: factories.ReadyPackage) -> None:
    made, version_id = make(client, slug), package.functions["size"]
    nodes = [input_node("d", "Length"), input_node("load", "Force")]
    nodes += [function_node(f"n{index}", version_id) for index in range(4_998)]
    edges = [
        edge(f"{key}.value", f"n{index}.{port}")
        for index in range(4_998)
        for key, port in (("d", "diameter"), ("load", "load"))
    ]
    saved = save(client, made, {"nodes": nodes, "edges": edges})
    assert (len(saved["nodes"]), len(saved["edges"])) == (5_000, 9_996)


def test_visibility_follows_the_packages(
    platform: ApiPlatform, client: httpx2.Client, colleague: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    save(client, made, graph_of(package))
    assert check(colleague.get(f"/workflows/{made['slug']}")).json()["visibility_effective"] == f"internal@{slug}"
    assert made["id"] in colleague.get("/workflows").text
    for visibility, shown in (("public", "public"), ("private", "private")):
        with platform.worker_database.transaction() as session:
            session.get_one(Package, package.package_id).visibility = visibility
        assert check(client.get(f"/workflows/{made['slug']}")).json()["visibility_effective"] == shown
        (summary,) = [item for item in check(client.get("/workflows")).json()["workflows"] if item["id"] == made["id"]]
        assert (summary["visibility_effective"], summary["node_count"]) == (shown, 3)
        assert (made["id"] in colleague.get("/workflows").text) is (shown == "public")
    assert check(colleague.get(f"/workflows/{made['slug']}")).status_code == 403


def test_an_older_version_that_uses_what_is_private_stays_its_owners(
    platform: ApiPlatform, client: httpx2.Client, colleague: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    owner_id = UUID(make(client, slug)["owner_id"])
    secret = factories.ready_package(
        *(platform.worker_database, package.organization_id, owner_id), name="secret", visibility="private"
    )
    made = make(client, slug)
    for used in (secret, package):
        save(client, made, graph_of(used))
    run = {"inputs": {"d": 1.0}, "version": 1}
    assert client.get(f"/workflows/{made['slug']}/versions/1").status_code == 200
    assert colleague.get(f"/workflows/{made['slug']}/versions/2").status_code == 200
    for refused in (
        colleague.get(f"/workflows/{made['slug']}/versions/1"),
        colleague.post(f"/workflows/{made['slug']}/runs", json=run),
    ):
        assert (refused.status_code, refused.json()["code"]) == (403, "workflow_private")
    outer = {
        "nodes": [
            node("in", "workflow", workflow_version_id=client.get(f"/workflows/{made['slug']}/versions/1").json()["id"])
        ]
    }
    theirs = make(colleague, slug)
    report = colleague.post(f"/workflows/{theirs['slug']}/validate", json=outer).json()
    assert [item["node_key"] for item in report["unknown_workflow_versions"]] == ["in"]


def test_only_the_owner_or_an_administrator_changes_a_workflow(
    platform: ApiPlatform, client: httpx2.Client, colleague: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made, graph = make(client, slug), graph_of(package)
    save(client, made, graph)
    for route in ("versions", "validate"):
        answer = check(colleague.post(f"/workflows/{made['slug']}/{route}", json=graph))
        assert (answer.status_code, answer.json()["code"]) == (403, "owner_needed")
        assert answer.json()["detail"].startswith("PermissionDenied:")
    for answer in (
        *(colleague.post(f"/workflows/{made['slug']}/{verb}") for verb in ("archive", "unarchive")),
        colleague.delete(f"/workflows/{made['slug']}"),
    ):
        assert check(answer).json()["code"] == "owner_needed"


def test_a_viewer_looks_and_changes_nothing(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    save(client, made, graph_of(package))
    viewer = platform.client(f"vic-{slug}", slug, roles=("viewer",))
    assert check(viewer.get(f"/workflows/{made['slug']}")).status_code == 200
    refused = check(viewer.post("/workflows", json={"slug": "x", "name": "x", "organization_slug": slug}))
    assert (refused.status_code, refused.json()["code"]) == (403, "viewer_may_not_submit")
    assert check(viewer.post(f"/workflows/{made['slug']}/archive")).status_code == 403


def test_strangers_and_nobody_find_no_workflow(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    save(client, made, graph_of(package))
    other = factories.unique()
    stranger = platform.client(f"ann-{other}", other)
    graph = graph_of(package)
    with httpx2.Client(base_url=platform.url) as nobody:
        for method, path, body in (
            ("GET", "", None),
            ("DELETE", "", None),
            ("POST", "/archive", None),
            ("POST", "/unarchive", None),
            ("POST", "/versions", graph),
            ("POST", "/validate", graph),
        ):
            for name in (made["slug"], made["id"]):
                url = f"/workflows/{name}{path}"
                assert check(stranger.request(method, url, json=body)).status_code == 404
                assert check(nobody.request(method, url, json=body)).status_code == 401
        assert check(nobody.post("/workflows", json={"slug": "x", "name": "x"})).status_code == 401
        assert check(nobody.get("/workflows")).json() == {"workflows": [], "total": 0}
    assert check(stranger.get("/workflows")).json() == {"workflows": [], "total": 0}
    foreign = check(stranger.post("/workflows", json={"slug": "x", "name": "x", "organization_slug": slug}))
    assert foreign.status_code == 404
