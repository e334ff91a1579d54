"""Packages as engineers write them pass validation as it is by default and run on every backend.

Results are held to published values.
"""

import io
import json
import math
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from mecapy_platform.client.archive import package_files
from support.backends.real_backends import BACKENDS, Backend
from support.platform.embedded_process import wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = (
    "bolted-joint",
    "beam-frame",
    "calculix",
    "lightest-spring",
    "beam-diagrams",
    "mesh-properties",
    "reliability",
)
PROBE = (
    "import sys\n\n\ndef where():\n"
    "    loaded = (str(getattr(module, '__file__', '')) for module in list(sys.modules.values()))\n"
    "    return {'command': ' '.join(sorted(name for name in loaded if '_mecapy_guest' in name))}\n"
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Case:
    """One call with an answer that is known: from a case of the package's own, or from here."""

    package: str
    function: str
    name: str
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-9
    refused_as: str = ""


def cases_of(package: str) -> Iterator[Case]:
    """The test cases that lie in the package, in both layouts."""
    manifest = yaml.safe_load((EXAMPLES / package / "mecapy.yml").read_text())
    functions = {spec["handler"]: (name, spec) for name, spec in manifest["functions"].items()}
    for path in sorted((EXAMPLES / package / "tests").glob("*.json")):
        suite = json.loads(path.read_text())
        name, _spec = functions[suite.get("handler") or suite["function"]]
        for test_case in suite["test_cases"]:
            inputs, expected = (
                test_case.get("request", test_case.get("inputs")),
                test_case.get("expected", test_case.get("expected_outputs", {})),
            )
            tolerance = test_case.get("tolerance", {}).get("numeric", 1e-9)
            yield Case(
                package, name, test_case["name"], inputs, expected, tolerance, test_case.get("expected_exception", "")
            )


MORE = [
    Case(
        "reliability",
        "sample",
        "forkserver: beta = 2, 0.02275",
        {"resistance": {"mean": 200, "deviation": 20}, "load": {"mean": 150, "deviation": 15}, "method": "forkserver"},
        {"probability": 0.0227501319, "processes": 2},
        0.00042,
    ),
    Case(
        "calculix",
        "solve",
        "ccx with two threads: the cantilever of beam theory, 0.192151 mm; eight elements are 0.15 % short of it",
        {"deck": "tests/cantilever.inp", "threads": 2},
        {"max_displacement": 0.192151},
        0.0004,
    ),
]
CASES = [case for package in PACKAGES for case in cases_of(package)] + MORE
SAMPLE = {"case": list({case.package: case for case in reversed(CASES)}.values())}  # of each package, its first


class Deployed:
    """Every package on one platform."""

    def __init__(self, client: httpx2.Client, backend: Backend) -> None:
        self.client, self.backend = client, backend
        self.answers = {package: self._deploy(package) for package in PACKAGES}

    def _deploy(self, package: str) -> dict[str, Any]:
        answer = self.client.post(
            "/packages/from-zip", files={"file": ("package.zip", zipped(package, is_warm=self.backend.is_warm))}
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def run(self, package: str, function: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        files = {name: value for name, value in inputs.items() if isinstance(value, str) and value.startswith("tests/")}
        uploads = {
            name: self._upload(package, function, name, EXAMPLES / package / path) for name, path in files.items()
        }
        name = self.answers[package]["package"]["name"]
        body = {
            "package": name,
            "function": function,
            "inputs": {k: v for k, v in inputs.items() if k not in files},
            "files": uploads,
        }
        answer = self.client.post("/tasks", params={"wait": 60}, json=body)
        assert answer.status_code == 201, answer.text
        task: dict[str, Any] = answer.json()
        return task

    def _upload(self, package: str, function: str, port: str, path: Path) -> str:
        address = f"/packages/{self.answers[package]['package']['id']}/functions/{function}/uploads"
        answer = self.client.post(address, data={"var_name": port}, files={"file": (path.name, path.read_bytes())})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["upload_id"])

    def artifact(self, task: Mapping[str, Any], name: str) -> bytes:
        found = self.client.get(f"/tasks/{task['id']}/artifacts").json()["artifacts"]
        return self.client.get(next(item["url"] for item in found if name in {item["name"], item["filename"]})).content


def zipped(package: str, *, is_warm: bool) -> bytes:
    """The package as it is, with warm or cold calls, and one function more that tells where a call runs."""
    folder = EXAMPLES / package
    manifest = yaml.safe_load((folder / "mecapy.yml").read_text())
    manifest.setdefault("platform", {})["warm"] = is_warm
    manifest["functions"]["where"] = {"handler": "where_am_i:where", "inputs": {}, "outputs": {"command": "String"}}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for path in package_files(folder):
            if path.name != "mecapy.yml":
                target.write(path, path.relative_to(folder))
        target.writestr("mecapy.yml", yaml.safe_dump(manifest, allow_unicode=True))
        target.writestr("where_am_i.py", PROBE)
    return packed.getvalue()


@pytest.fixture(scope="module", params=BACKENDS, ids=str)
def deployed(request: pytest.FixtureRequest) -> Iterator[Deployed]:
    backend: Backend = request.param
    with backend.platform() as running, running.client() as client:
        yield Deployed(client, backend)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_real_package_passes_validation_and_its_own_cases(deployed: Deployed, package: str) -> None:
    answer = deployed.answers[package]
    if package == "calculix" and shutil.which("ccx") is None:
        pytest.skip("ccx is not installed")
    assert answer["package"]["status"] == "ready", json.dumps(answer["validation_results"], indent=1)[:6000]
    cases = answer["validation_results"]["validation_testcases"]["cases"]
    assert cases
    assert all(case["differences"] == [] for case in cases), cases


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.package}: {case.name}"[:80])
def test_a_call_gives_the_value_that_is_known(deployed: Deployed, case: Case) -> None:
    task = deployed.run(case.package, case.function, case.inputs)
    if case.refused_as:
        assert task["state"] == "failed"
        assert case.refused_as in task["error"]["message"]
        return
    assert task["state"] == "completed", task["error"]
    differences = list(differing(case.expected, task["result"], case.tolerance))
    assert not differences


def differing(expected: Any, found: Any, tolerance: float, path: str = "") -> Iterator[str]:
    if isinstance(expected, Mapping):
        for key, value in expected.items():
            yield from differing(value, found.get(key), tolerance, f"{path}.{key}")
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        if not isinstance(found, list) or len(found) != len(expected):
            yield f"{path}: {found}"
            return
        for index, value in enumerate(expected):
            yield from differing(value, found[index], tolerance, f"{path}[{index}]")
    elif isinstance(expected, int | float) and not isinstance(expected, bool):
        if not isinstance(found, int | float) or not math.isclose(expected, found, rel_tol=0, abs_tol=tolerance):
            yield f"{path}: {found}, known is {expected}"
    elif expected != found:
        yield f"{path}: {found!r}, known is {expected!r}"


def test_a_plot_comes_back_as_output_and_as_artifact(deployed: Deployed) -> None:
    task = deployed.run("beam-diagrams", "draw", {"span": "4 m", "stiffness": 1.25e6, "uniform": 10000})
    assert task["state"] == "completed", task["error"]
    assert deployed.artifact(task, "diagrams.svg").startswith(b"<?xml")
    assert deployed.artifact(task, "drawing.png").startswith(b"\x89PNG")
    assert not [
        line for line in deployed.client.get(f"/tasks/{task['id']}/logs").json()["entries"] if "rror" in line["text"]
    ]


def test_a_mesh_is_written_that_meshio_reads(deployed: Deployed) -> None:
    task = deployed.run("mesh-properties", "measure", {"mesh": "tests/box.msh", "density": 1})
    assert task["state"] == "completed", task["error"]
    content = deployed.artifact(task, "converted.vtu")
    assert b'<VTKFile type="UnstructuredGrid"' in content
    assert b'NumberOfPoints="8" NumberOfCells="6"' in content


def test_ccx_uses_both_of_its_threads(deployed: Deployed) -> None:
    task = deployed.run("calculix", "solve", {"deck": "tests/cantilever.inp", "threads": 2})
    assert task["state"] == "completed", task["error"]
    assert b"Using up to 2 cpu(s)" in deployed.artifact(task, "ccx.log")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_calls_run_where_they_should(deployed: Deployed, package: str) -> None:
    """Warm sandboxes are made after a first call that goes cold."""
    seen: list[str] = []

    def is_there() -> bool:
        task = deployed.run(package, "where", {})
        assert task["state"] == "completed", task["error"]
        seen.append(task["result"]["command"])
        return deployed.backend.shown_by in seen[-1]

    if deployed.backend.is_warm:
        assert wait_for(is_there, f"a call in {deployed.backend.shown_by}, not {seen[-1:]}", 20)
    else:
        assert all(is_there() for _ in range(3)), seen
