"""The example from a deck to a decision on a whole platform: deployed, imported by the command line, run, decided."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from mecapy_platform.cli.main import app
from mecapy_platform.client.archive import write_zip
from support.platform.embedded_process import wait_for
from support.platform.running_platform import deploy, platform

EXAMPLES = Path(__file__).parents[2] / "examples"
ENDED = {"completed", "failed", "cancelled", "timeout"}
pytestmark = [pytest.mark.slow]


@dataclass(frozen=True)
class Ready:
    """A platform with the package and the workflow."""

    client: httpx2.Client
    package_id: str


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    folder = tmp_path_factory.mktemp("example")
    write_zip(EXAMPLES / "calculix", folder / "calculix.zip")
    text = (EXAMPLES / "workflows/cantilever-check.yml").read_text("utf-8").replace("acme/", "demo/")
    (folder / "check.yml").write_text(text, "utf-8")
    with platform() as running, running.client() as client:
        package = deploy(client, (folder / "calculix.zip").read_bytes(), organization="demo")
        environment = {
            "MECAPY_API_URL": running.url,
            "MECAPY_TOKEN": str(running.ready["token"]),
            "MECAPY_ORGANIZATION": "demo",
            "MECAPY_CREDENTIALS": str(folder / "credentials.json"),
        }
        done = CliRunner().invoke(app, ["workflow", "import", str(folder / "check.yml")], env=environment)
        assert done.stdout == "cantilever-check @1 saved\n", (done.output, done.stderr)
        yield Ready(client, str(package["id"]))


def run(ready: Ready, deck: str = "cantilever", **inputs: Any) -> dict[str, Any]:
    """A run of the workflow for a deck, the cantilever of 100 x 10 x 10 mm unless another is named, to its end."""
    content = (EXAMPLES / f"calculix/tests/{deck}.inp").read_bytes()
    path = f"/packages/{ready.package_id}/functions/solve/uploads"
    upload = ready.client.post(path, data={"var_name": "deck"}, files={"file": (f"{deck}.inp", content)})
    given = {"deck": upload.json()["upload_id"], **inputs}
    started = ready.client.post("/workflows/cantilever-check/runs", json={"inputs": given})
    assert started.status_code == 201, started.text

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = ready.client.get(f"/workflow-runs/{started.json()['id']}").json()
        return found if found["status"] in ENDED else None

    found: dict[str, Any] = wait_for(ended, "the end of the run", 120)
    return found


@pytest.mark.parametrize(
    ("yield_strength", "allowed", "margin", "decision"),
    [
        ("235 MPa", "0.5 mm", 0.5 / 0.192151, "accepted"),
        ("80 MPa", "0.5 mm", 80 / 60, "review"),
        ("80 MPa", "0.1 mm", 0.1 / 0.192151, "rejected"),
    ],
)
def test_a_deck_becomes_a_decision(
    ready: Ready, yield_strength: str, allowed: str, margin: float, decision: str
) -> None:
    """Beam theory with shear, as in examples/calculix: 60 MPa at the support, 0.192151 mm at the loaded corner."""
    found = run(ready, yield_strength=yield_strength, allowed=allowed)
    assert found["status"] == "completed", found
    assert found["terminal_outputs"] == {"decision": {"value": decision}}
    assert found["other_nodes"]["margin"]["outputs"]["value"] == pytest.approx(margin, rel=0.01)


def test_a_deck_that_calculix_refuses_ends_the_run_with_its_cause(ready: Ready) -> None:
    found = run(ready, "rejected")
    assert (found["status"], found["first_failed_node_key"]) == ("failed", "solve")
    assert "*ERROR" in found["node_states"]["solve"]["error"]
    assert found["other_nodes"]["decision"]["state"] == "cancelled"
