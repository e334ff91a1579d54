"""Studies and workflow of `examples/` on a whole platform, by the commands that they name, against known answers."""

import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from mecapy_platform.client.client import Client
from support.platform.embedded_process import wait_for
from support.platform.running_platform import MECAPY, Running, platform

EXAMPLES = Path(__file__).parents[2] / "examples"
STUDIES = EXAMPLES / "studies"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
needs_ccx = pytest.mark.skipif(
    shutil.which("ccx") is None and not os.environ.get("MECAPY_REQUIRE_SERVICES"),
    reason="ccx is not installed (deploy/ci/install-debian.sh)",
)


@dataclass(frozen=True)
class Ready:
    running: Running
    client: Client

    def command(self, *arguments: str) -> str:
        """`mecapy ..` as an engineer types it; its stdout."""
        environment = {
            **os.environ,
            "MECAPY_API_URL": self.running.url,
            "MECAPY_TOKEN": str(self.running.ready["token"]),
            "MECAPY_ORGANIZATION": str(self.running.ready["organization"]),
        }
        done = subprocess.run([MECAPY, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def study(self, file: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.command("study", "run", str(file), "--json"))
        assert (found["state"], found["failed"]) == ("completed", 0), found
        return found


@pytest.fixture(scope="module")
def ready() -> Iterator[Ready]:
    with platform() as running:
        token, organization = str(running.ready["token"]), str(running.ready["organization"])
        with Client(running.url, token, organization=organization) as client:
            yield Ready(running, client)


# Scatter of bolt preload


@dataclass(frozen=True)
class Quotient:
    """Preload = torque / lever of two independent normal variables: R. C. Geary, J. R. Stat. Soc. 93 (1930) 442.

    The lever of Kellermann and Klein is P/2π + d2/2 mu_thread/cos 30° + D_Km/2 mu_head, normal as both frictions are;
    that it is below 0 has no probability worth naming (it is 13 standard deviations away).
    """

    torque: float
    torque_std: float
    lever: float
    lever_std: float

    def below(self, force: Any) -> Any:
        spread = np.hypot(self.torque_std, force * self.lever_std)
        return stats.norm.cdf((force * self.lever - self.torque) / spread)

    def quantile(self, share: float) -> float:
        return float(optimize.brentq(lambda force: self.below(force) - share, 1e3, 1e5))

    def moment(self, of: Callable[[float], float], slope: Callable[[float], float]) -> float:
        """The mean of `of(force)`, by parts: of(low) + the integral of of' (1 - F)."""
        low, high = 5e3, 1e5
        tail = integrate.quad(lambda force: slope(force) * (1 - self.below(force)), low, high, limit=500)[0]
        return of(low) + float(tail)

    @property
    def mean(self) -> float:
        return self.moment(lambda force: force, lambda force: 1.0)

    @property
    def std(self) -> float:
        middle = self.mean
        return math.sqrt(self.moment(lambda force: (force - middle) ** 2, lambda force: 2 * (force - middle)))


def known_preload() -> Quotient:
    """Of an M10 bolt: ISO 724 and ISO 4014 give pitch 1.5, d2 = 9.026, d_w = 14.63; ISO 273 the hole of 11 mm."""
    thread = 9.026e-3 / 2 / math.cos(math.pi / 6)
    head = (14.63e-3 + 11e-3) / 4
    lever = 1.5e-3 / (2 * math.pi) + 0.12 * (thread + head)
    variance = 0.012**2 * (thread**2 + head**2 + 2 * 0.5 * thread * head)
    return Quotient(50.0, 2.5, lever, math.sqrt(variance))


def judge_preload(ready: Ready, made: Mapping[str, Any], points: int) -> int:
    """Mean, deviation, quantiles and share within their intervals of confidence 0.999; the whole by its distance.

    Returns how many points were judged.
    """
    known = known_preload()
    found = ready.client.studies.statistics(
        made["id"], ("moments", "quantiles", "success", "correlation"), columns=["preload"], confidence=0.999
    )["statistics"]
    moments = found["moments"]["preload"]
    assert moments["count"] == points
    assert moments["mean_interval"][0] <= known.mean <= moments["mean_interval"][1]
    assert abs(moments["std"] / known.std - 1) <= 3.3 * math.sqrt((moments["kurtosis"] + 2) / points) / 2
    assert len(found["quantiles"]["preload"]) == 7
    for row in found["quantiles"]["preload"]:
        low, high = (end if end is not None else math.nan for end in row["interval"])
        assert not known.quantile(row["probability"]) < low, row
        assert not known.quantile(row["probability"]) > high, row
    low, high = found["success"]["enough"]["interval"]
    assert low <= 1 - float(known.below(24e3)) <= high
    forces = [float((point.result or {})["preload"]) for point in ready.client.studies.points(made["id"])]
    assert len(forces) == points
    assert stats.kstest(forces, known.below).pvalue > 1e-3
    names, scores = found["correlation"]["names"], np.array(found["correlation"]["pearson"])
    assert scores[names.index("mu_thread"), names.index("mu_head")] == pytest.approx(0.5, abs=3.3 / math.sqrt(points))
    return len(forces)


def test_the_known_preload_is_near_its_first_order() -> None:
    known = known_preload()
    first = known.torque / known.lever
    share = math.hypot(known.torque_std / known.torque, known.lever_std / known.lever)

    assert known.quantile(0.5) == pytest.approx(first, rel=1e-9)
    assert known.mean == pytest.approx(first * (1 + (known.lever_std / known.lever) ** 2), rel=1e-3)
    assert known.std == pytest.approx(first * share, rel=0.02)


def test_the_preload_of_1000_bolts_scatters_as_is_known(ready: Ready, tmp_path: Path) -> None:
    ready.command("deploy", str(EXAMPLES / "bolted-joint"))
    file = tmp_path / "bolts.yml"
    text = (STUDIES / "bolt-preload.yml").read_text()
    file.write_text(text.replace("points: 10000", "points: 1000"))
    assert file.read_text() != text

    assert judge_preload(ready, ready.study(file), 1000) == 1000


@pytest.mark.long
def test_the_preload_of_10000_bolts_scatters_as_is_known(ready: Ready) -> None:
    deployed = [package.name for package in ready.client.packages.all()]
    if "bolts" not in deployed:
        ready.command("deploy", str(EXAMPLES / "bolted-joint"))

    assert judge_preload(ready, ready.study(STUDIES / "bolt-preload.yml"), 10_000) == 10_000


# Lightest portal frame


def portal_uses(column: Any, beam: Any) -> tuple[Any, Any]:
    """Mass in kg and the largest use of a limit, by slope and deflection.

    Three unknowns for each pair of widths: the turns of both knees and the sway. Members do not lengthen.
    """
    young, height, span, load, wind = 210e9, 4.0, 8.0, 8e3, 25e3
    column, beam = np.broadcast_arrays(column, beam)
    area, second = 0.19 * column**2, 0.3439 * column**4 / 12
    beam_area, beam_second = 0.19 * beam**2, 0.3439 * beam**4 / 12
    post, rafter = young * second / height, young * beam_second / span
    zero = np.zeros_like(post)
    rows = [
        [4 * post + 4 * rafter, 2 * rafter, -6 * post / height],
        [2 * rafter, 4 * post + 4 * rafter, -6 * post / height],
        [-6 * post / height, -6 * post / height, 24 * post / height**2],
    ]
    matrix = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    fixed = load * span**2 / 12
    right = np.stack([zero + fixed, zero - fixed, zero + wind], axis=-1)
    left_turn, right_turn, sway = np.moveaxis(np.linalg.solve(matrix, right[..., None])[..., 0], -1, 0)
    feet = [2 * post * (turn - 3 * sway / height) for turn in (left_turn, right_turn)]
    knees = [2 * post * (2 * turn - 3 * sway / height) for turn in (left_turn, right_turn)]
    shear = load * span / 2 - (-knees[0] - knees[1]) / span
    along = np.abs(knees[0])
    for place in np.linspace(0, span, 801):
        along = np.maximum(along, np.abs(-knees[0] + shear * place - load * place**2 / 2))
    bent = np.maximum.reduce([np.abs(moment) for moment in (*feet, *knees)])
    column_stress = bent * column / 2 / second + (load * span - shear) / area
    uses = [column_stress / 200e6, along * beam / 2 / beam_second / 200e6, sway / 0.02]
    return 7850 * (2 * height * area + span * beam_area), np.maximum.reduce(uses)


def lightest() -> float:
    """By trying each pair of widths, ever finer about the best: kg."""
    middle, reach = np.array([0.19, 0.19]), 0.11
    best = math.inf
    while reach > 2e-6:
        columns, beams = (np.linspace(at - reach, at + reach, 111) for at in middle)
        mass, use = portal_uses(columns[:, None], beams[None, :])
        allowed = np.where(use <= 1, mass, np.inf)
        place = np.unravel_index(int(np.argmin(allowed)), allowed.shape)
        best, middle = float(allowed[place]), np.array([columns[place[0]], beams[place[1]]])
        reach *= 0.2
    return best


def test_the_lightest_portal_is_that_of_a_search_through_all(ready: Ready) -> None:
    ready.command("deploy", str(EXAMPLES / "portal-frame"))

    found = ready.study(STUDIES / "lightest-portal.yml")

    outcome, known = found["outcome"], lightest()
    assert (outcome["ended"], outcome["best"]["feasible"]) == ("converged", True)
    assert outcome["best"]["values"][0] == pytest.approx(known, rel=1e-5)
    column, beam = (float(outcome["best"]["inputs"][name].removesuffix(" mm")) / 1e3 for name in ("column", "beam"))
    mass, use = portal_uses(column, beam)
    assert float(mass) == pytest.approx(known, rel=1e-5)
    assert float(use) == pytest.approx(1.0, abs=1e-4)


# Mesh of a cantilever


@needs_ccx
def test_the_mesh_converges_to_the_closed_form_at_second_order(ready: Ready) -> None:
    ready.command("deploy", str(EXAMPLES / "cantilever-mesh"))

    found = ready.study(STUDIES / "cantilever-mesh.yml")

    length, height, force, young = 0.1, 0.01, 100.0, 210e9
    area, bending, shear = height**2, young * height**4 / 12, young / 2
    known = force * length**3 / (3 * bending) + force * length / (shear * area)
    outcome = found["outcome"]
    assert (outcome["ended"], outcome["monotone"]) == ("converged", True)
    assert [row["inputs"]["elements"] for row in outcome["series"]] == [10, 20, 40, 80, 160, 320]
    for row in outcome["series"]:
        step = length / row["level"]
        stiffness = bending + shear * area * step**2 / 12
        mesh = force * length / (shear * area) + force * (length**3 / 3 - length * step**2 / 12) / stiffness
        assert row["value"] == pytest.approx(mesh, rel=2e-6)
    assert outcome["order"] == pytest.approx(2.0, abs=0.02)
    assert outcome["extrapolated"] == pytest.approx(known, rel=1e-5)
    assert abs(outcome["series"][-1]["value"] / known - 1) <= outcome["index"] <= 0.002
    assert known == pytest.approx(force * length**3 / (3 * bending), rel=0.006)  # Euler and Bernoulli leave shear out
    last = list(ready.client.studies.points(found["id"]))[-1].raw
    assert last["derived"]["beam_theory"] == pytest.approx(known)
    assert last["derived"]["missing"] == pytest.approx(1 - outcome["series"][-1]["value"] / known, rel=1e-3)


# Deck, CalculiX, margins, decision


@needs_ccx
@pytest.mark.parametrize(
    ("strength_mpa", "signed_off", "decision"),
    [(235, "skipped", "release"), (100, "completed", "release after sign-off"), (60, "skipped", "strengthen")],
)
def test_a_deck_comes_to_a_decision(ready: Ready, strength_mpa: float, signed_off: str, decision: str) -> None:
    if "margins" not in {workflow.slug for workflow in ready.client.workflows.all()}:
        ready.command("deploy", str(EXAMPLES / "calculix"))
        for name in ("sign-off", "margins"):
            ready.command("workflow", "import", str(EXAMPLES / "workflows" / f"{name}.yml"))
    deck = f"deck=@{EXAMPLES / 'calculix' / 'tests' / 'cantilever.inp'}"
    asked = ("workflow", "run", "margins", deck, f"yield_strength={strength_mpa} MPa", "--detach", "--json")
    run_id = json.loads(ready.command(*asked))["id"]
    if decision == "release after sign-off":
        wait_for(ready.client.runs.approvals, "an approval", 60)
        (asked_for,) = json.loads(ready.command("approvals", "list", "--json"))
        assert asked_for["workflow_slug"] == "sign-off"
        ready.command("approvals", "approve", asked_for["run_id"], "engineer", "--comment", "as drawn")

    ended = ready.client.runs.wait(run_id, timeout_seconds=60)

    nodes = {node.key: node for node in ready.client.runs.nodes(run_id)}
    found = {key: dict(node.outputs or {}).get("value") for key, node in nodes.items()}
    assert (ended.state, found["decision"], nodes["sign_off"].state) == ("completed", decision, signed_off)
    assert found["stress"] == pytest.approx(60.0, rel=0.01)  # F L (h/2) / I, in MPa
    assert found["strength"] == pytest.approx(strength_mpa / (1.5 * 60.0) - 1, abs=0.02)
    assert found["stiffness"] == pytest.approx(0.5 / 0.192151 - 1, rel=0.005)  # Timoshenko, and the turn of the end
