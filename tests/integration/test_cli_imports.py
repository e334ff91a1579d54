"""What starting the command line imports: a person waits for each of these."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import mecapy_platform
from mecapy_platform.version import VERSION

SOURCE = Path(mecapy_platform.__file__).parent
OWN = "mecapy_platform"
# What `mecapy run` may load of ours before it knows what it is asked for. No types, no units, no manifest, no tables.
RUN = {
    *("cli", "cli.run", "cli.arguments", "cli.console", "cli.exits", "cli.lazy", "cli.progress", "cli.results"),
    *("cli.session", "cli.interrupts"),
    *("client", "client.artifacts", "client.catalog", "client.checks", "client.client", "client.credentials"),
    *("client.errors", "client.logs", "client.oidc", "client.packages", "client.paths", "client.records"),
    *("client.retry", "client.tasks", "client.tokens", "client.transport", "client.uploads", "client.users"),
    *("core", "core.errors", "core.states", "core.unit_systems"),
}  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """Names of the modules that the code adds, in an interpreter of its own."""
    program = (
        f"import json, sys\nbefore = set(sys.modules)\n{code}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def foreign(modules: set[str]) -> set[str]:
    tops = {name.partition(".")[0] for name in modules}
    return {name for name in tops if name not in sys.stdlib_module_names and name != OWN}


def test_saying_the_version_loads_the_entry_alone() -> None:
    code = "sys.argv = ['mecapy', '--version']\nfrom mecapy_platform.cli.entry import main\nmain()"
    loaded = loaded_by(code)
    assert foreign(loaded) == set()
    assert {name for name in loaded if name.startswith(OWN)} == {
        OWN,
        f"{OWN}.cli",
        f"{OWN}.cli.entry",
        f"{OWN}.cli.lazy",
        f"{OWN}.version",
    }
    assert not loaded & {"importlib.metadata", "email", "pathlib", "asyncio", "inspect"}


def test_the_version_that_is_said_is_the_one_that_is_installed() -> None:
    assert version("mecapy-platform") == VERSION


def test_run_loads_only_what_it_uses() -> None:
    before = loaded_by("import typer, httpx2")
    added = loaded_by("import typer, httpx2\nimport mecapy_platform.cli.run") - before
    assert foreign(added) == {"platformdirs"}
    assert {name.removeprefix(f"{OWN}.") for name in added if name.startswith(f"{OWN}.")} <= RUN


def test_late_imports_go_through_one_module() -> None:
    late = [
        path.relative_to(SOURCE).as_posix()
        for path in sorted((SOURCE / "cli").rglob("*.py"))
        if "import_module" in (text := path.read_text("utf-8")) or "__import__" in text
    ]
    assert late == ["cli/lazy.py"]
