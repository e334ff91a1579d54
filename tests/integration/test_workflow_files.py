"""Workflows as files, by the command line, on a real API with real PostgreSQL."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from mecapy_platform.cli.lazy import JSON_MODE
from mecapy_platform.cli.main import app
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database

Mecapy = Callable[..., Result]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiPlatform]:
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("files")) as running:
        yield running


@pytest.fixture
def slug() -> str:
    return factories.unique()


@pytest.fixture
def package(platform: ApiPlatform, slug: str) -> factories.ReadyPackage:
    actor = platform.actor(f"ann-{slug}", slug)
    return factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)


@pytest.fixture
def client(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"ann-{slug}", slug)


@pytest.fixture
def mecapy(platform: ApiPlatform, client: httpx2.Client, slug: str, tmp_path: Path) -> Mecapy:
    token = client.headers["Authorization"].removeprefix("Bearer ")
    environment = {
        "MECAPY_API_URL": platform.url,
        "MECAPY_TOKEN": token,
        "MECAPY_ORGANIZATION": slug,
        "MECAPY_CREDENTIALS": str(tmp_path / "c.json"),
    }

    def invoke(*arguments: str, code: int = 0) -> Result:
        mode = JSON_MODE.set(False)
        try:
            done = CliRunner().invoke(app, ["workflow", *arguments], env=environment)
        finally:
            JSON_MODE.reset(mode)
        assert done.exit_code == code, (done.output, done.stderr, done.exception)
        return done

    return invoke


@pytest.fixture
def file(tmp_path: Path, slug: str, package: factories.ReadyPackage) -> Path:
    """A document with comments that holds for the package."""
    path = tmp_path / "joint.yml"
    text = f"""\
# The joint of the drawing 4711
workflow: w-{slug}
name: Joint
nodes:
  d: {{input: Length}}  # of the bolt
  load:
    input: {{label: Load, type: Force, required: false, default: 20 kN}}
  # pinned: newer ones round otherwise
  size:
    function: {slug}/{package.name}:size@1.2.0
    from: {{diameter: d, load: load}}
"""
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_a_workflow_and_comes_back_with_its_comments(
    mecapy: Mecapy, client: httpx2.Client, slug: str, file: Path, tmp_path: Path
) -> None:
    text = file.read_text()
    assert "holds" in mecapy("validate", str(file)).stdout
    assert client.get(f"/workflows/w-{slug}").status_code == 404
    assert mecapy("import", str(file)).stdout == f"w-{slug} @1 saved\n"
    assert mecapy("import", str(file)).stdout == f"w-{slug} @1 unchanged\n"
    mecapy("export", f"w-{slug}", "-o", str(file))
    assert file.read_text() == text
    assert mecapy("export", f"w-{slug}").stdout == text
    graph = client.get(f"/workflows/w-{slug}").json()["latest_version"]
    client.post(f"/workflows/w-{slug}/versions", json={"nodes": graph["nodes"], "edges": graph["edges"]})
    written = mecapy("export", f"w-{slug}@2").stdout
    assert "#" not in written
    (tmp_path / "again.yml").write_text(written)
    assert mecapy("diff", str(file), str(tmp_path / "again.yml")).stdout == ""
    answered = client.get(f"/workflows/w-{slug}").json()
    assert answered["name"] == "Joint"
    assert answered["organization_slug"] == slug
    assert [node["node_key"] for node in answered["latest_version"]["nodes"]] == ["d", "load", "size"]


def test_a_changed_file_becomes_the_next_version_and_is_told_apart(mecapy: Mecapy, slug: str, file: Path) -> None:
    mecapy("import", str(file))
    file.write_text(file.read_text().replace("default: 20 kN", "default: 30 kN"))
    done = mecapy("diff", str(file), "--exit-code", code=1)
    assert done.stdout == "~ node load: input.default  20 kN -> 30 kN\n"
    assert mecapy("import", str(file)).stdout == f"w-{slug} @2 saved\n"
    assert mecapy("diff", str(file)).stdout == ""
    changes = json.loads(mecapy("diff", f"w-{slug}@1", f"w-{slug}@2", "--json").stdout)
    assert [(change["kind"], change["field"]) for change in changes] == [("changed", "input.default")]
    mecapy("export", f"w-{slug}@1", "-o", str(file))
    assert "default: 20 kN" in file.read_text()
    assert "# pinned: newer ones" in file.read_text()


def test_it_is_listed_and_shown_as_text(mecapy: Mecapy, slug: str, file: Path, package: factories.ReadyPackage) -> None:
    mecapy("import", str(file))
    assert f"w-{slug}" in mecapy("list").stdout
    listed = json.loads(mecapy("list", "--json").stdout)
    assert [workflow["slug"] for workflow in listed] == [f"w-{slug}"]
    shown = mecapy("show", f"w-{slug}").stdout
    assert shown.startswith(f"w-{slug} @1  Joint\n3 nodes, 2 edges\n\ngiven\n  d: input Length\n")
    assert f"step 1\n* size: {slug}/{package.name}:size@1.2.0\n      diameter <- d\n" in shown
    assert mecapy("show", f"{slug}/w-{slug}").stdout == shown
    assert mecapy("show", str(file)).stdout == shown.replace(" @1", "")


@pytest.mark.parametrize(
    ("before", "after", "line", "place", "code"),
    [
        ("load: load}", "load: d}", 11, "size.load", "unit_mismatch"),
        ("load: load}", "lod: load}", 11, "size.lod", "unknown_target_port"),
        ("load: load}", "load: nothing}", 11, "size.load", "unknown_node"),
        (", load: load}", "}", 10, "size.load", "unconnected_input"),
        (":size@", ":seize@", 10, "size", "unknown_name"),
        ("type: Force", "type: Forse", 7, "load", "invalid_node_type"),
        ("from:", "form:", 11, "nodes.size.form", "unknown_key"),
        ("load:\n    input:", "load:\n    after: [d, d]\n    input:", 7, "load.after", "wrong_field"),
    ],
)
def test_what_is_wrong_is_told_with_line_node_and_reason(
    mecapy: Mecapy,
    client: httpx2.Client,
    slug: str,
    file: Path,
    before: str,
    after: str,
    line: int,
    place: str,
    code: str,
) -> None:
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    said = mecapy("validate", str(file), code=7).stdout
    assert f"{file}:{line}: {place}" in said
    assert f"[{code}]" in said
    problems: list[dict[str, Any]] = json.loads(mecapy("validate", str(file), "--json", code=7).stdout)["problems"]
    assert (line, code) in [(problem["line"], problem["code"]) for problem in problems]
    mecapy("import", str(file), code=7)
    assert client.get(f"/workflows/w-{slug}").status_code == 404


def test_the_form_is_judged_without_a_platform(mecapy: Mecapy, file: Path) -> None:
    file.write_text(file.read_text().replace(":size@", ":seize@"))
    assert "holds" in mecapy("validate", str(file), "--offline").stdout


def test_what_converts_is_told(mecapy: Mecapy, file: Path) -> None:
    file.write_text(file.read_text().replace("input: Length", 'input: "Float[cm]"'))
    assert "d.value -> size.diameter: cm becomes m (x 0.01)" in mecapy("validate", str(file)).stderr
    told = json.loads(mecapy("validate", str(file), "--json").stdout)
    assert (told["valid"], told["conversions"][0]["changes"][0]["factor"]) == (True, 0.01)


def test_a_bomb_is_refused(mecapy: Mecapy, file: Path) -> None:
    for bomb in ("a: &a [x]\nb: [*a, *a]\n", "nodes: [" + "1," * 250_001 + "]"):
        file.write_text(bomb)
        assert "cannot be read" in mecapy("validate", str(file), code=7).stderr
    mecapy("validate", str(file.parent / "absent.yml"), code=2)


def test_names_without_a_version_mean_the_newest(
    mecapy: Mecapy, client: httpx2.Client, slug: str, file: Path, package: factories.ReadyPackage
) -> None:
    file.write_text(file.read_text().replace("@1.2.0", ""))
    mecapy("import", str(file))
    assert f"function: {slug}/{package.name}:size@1.2.0" in mecapy("export", f"w-{slug}").stdout
    found = client.post("/workflow-documents/ids", json={"workflows": [f"{slug}/w-{slug}", f"{slug}/w-{slug}@2", "x"]})
    assert list(found.json()["workflows"]) == [f"{slug}/w-{slug}"]


def test_the_schema_is_published_for_editors_without_a_token(platform: ApiPlatform) -> None:
    published = Path(__file__).parents[2] / "docs/reference/workflow.schema.json"
    assert httpx2.get(f"{platform.url}/workflow-documents/schema").json() == json.loads(published.read_text("utf-8"))
