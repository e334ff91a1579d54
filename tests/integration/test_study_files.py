"""Pictures and tables of a study, as somebody at a terminal gets them, on a real API with real PostgreSQL."""

import io
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from arro3.io import read_parquet
from typer.testing import CliRunner, Result

from mecapy_platform.cli.lazy import JSON_MODE
from mecapy_platform.cli.main import app
from mecapy_platform.services.studies.advancing import advance_study
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database
from support.worked import Worked, work


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiPlatform]:
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("pictures")) as running:
        yield running


class Terminal:
    """Somebody signed in, and a study of five bars that has ended."""

    def __init__(self, platform: ApiPlatform, folder: Path) -> None:
        slug = factories.unique()
        actor = platform.actor(f"ann-{slug}", slug)
        factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)
        client = platform.client(f"ann-{slug}", slug, organization=slug)
        token = client.headers["Authorization"].removeprefix("Bearer ")
        self._environment = {"MECAPY_API_URL": platform.url, "MECAPY_TOKEN": token, "MECAPY_ORGANIZATION": slug}
        self._environment["MECAPY_CREDENTIALS"] = str(folder / "credentials.json")
        design = {"kind": "one_at_a_time", "factors": {"diameter": {"low": "10 mm", "high": "20 mm", "levels": 4}}}
        asked = {"name": "bars", "package": "bolts", "function": "size", "design": design}
        self.study = str(client.post("/studies", json=asked).json()["id"])
        points = client.get(f"/studies/{self.study}/points").json()["points"]
        ends = {UUID(point["task_id"]): Worked(result={"stress": 1.0 + point["index"]}) for point in points}
        work(platform.worker_database, ends)
        advance_study(platform.worker_database, UUID(self.study), platform.settings.queue_rules)

    def study_command(self, name: str, *arguments: str) -> Result:
        mode = JSON_MODE.set(False)
        try:
            return CliRunner().invoke(app, ["study", name, self.study, *arguments], env=self._environment)
        finally:
            JSON_MODE.reset(mode)


@pytest.fixture
def terminal(platform: ApiPlatform, tmp_path: Path) -> Terminal:
    return Terminal(platform, tmp_path)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("scatter", ("--x", "diameter", "--y", "stress")),
        ("histogram", ("--x", "stress", "--bins", "4")),
        ("tornado", ("--y", "stress")),
        ("pareto", ("--x", "diameter", "--y", "stress", "--maximise", "stress")),
    ],
)
def test_a_plot_is_written_in_the_form_that_its_ending_names(
    terminal: Terminal, tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    for name, begin in (("a.svg", b"<?xml"), ("a.png", b"\x89PNG")):
        done = terminal.study_command("plot", kind, str(tmp_path / name), *options)
        assert done.exit_code == 0, (done.output, done.exception)
        assert (tmp_path / name).read_bytes().startswith(begin)


def test_a_plot_that_cannot_be_leaves_no_file(terminal: Terminal, tmp_path: Path) -> None:
    for name, options in (("a.svg", ("--x", "nothing", "--y", "stress")), ("a.pdf", ("--x", "diameter"))):
        done = terminal.study_command("plot", "scatter", str(tmp_path / name), *options)
        assert done.exit_code != 0
        assert not (tmp_path / name).exists()


def test_points_are_exported_as_parquet(terminal: Terminal, tmp_path: Path) -> None:
    done = terminal.study_command("export", str(tmp_path / "points.parquet"))
    assert done.exit_code == 0, (done.output, done.exception)
    table = read_parquet(io.BytesIO((tmp_path / "points.parquet").read_bytes())).read_all()
    assert table["stress"].to_pylist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert table["diameter"].to_pylist()[1] == pytest.approx(0.010)
