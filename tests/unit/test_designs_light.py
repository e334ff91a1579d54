"""The base install stays light: who checks a design loads no heavy library, and only the extra brings them."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = {"numpy", "scipy", "pymoo", "matplotlib", "arro3", "pandas"}


def test_a_design_is_checked_without_any_heavy_library() -> None:
    modules = "design", "driven", "csv_writing", "systematic"
    code = "import json, sys\n" + "\n".join(f"import mecapy_platform.core.sampling.{name}" for name in modules)
    code += "\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(done.stdout))


def test_only_the_extra_for_studies_brings_heavy_libraries() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    base = {
        re.split(r"[^a-z0-9-]", line)[0] for line in (ROOT / "requirements/base.txt").read_text("utf-8").splitlines()
    }
    named = {re.split(r"[\[<>=]", wanted)[0] for wanted in project["dependencies"]}
    assert not {"numpy", "scipy", "pymoo", "matplotlib", "arro3-core", "arro3-io"} & (base | named)
    assert {re.split(r"[<>=]", wanted)[0] for wanted in extras["studies"]} >= {"numpy", "scipy", "pymoo", "matplotlib"}
    assert "mecapy-platform[studies]" in extras["server"]
