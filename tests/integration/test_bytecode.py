"""Modules compiled once, in the sandbox, in place of whatever came with the package."""

import marshal
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from integration.sandbox_contract import Bench, follow
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.worker.bytecode import Compiler, ensure_bytecode

SHIPPED = f"sizes.{sys.implementation.cache_tag}.pyc"


@pytest.fixture
def bench() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    package = folder / "package"
    (package / "inner" / "__pycache__").mkdir(parents=True)
    (package / "cases.py").write_text(
        "from inner import sizes\n\n\ndef answer():\n    return {'cached': sizes.__cached__, 'value': sizes.VALUE}\n"
    )
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "sizes.py").write_text("VALUE = 'from the source'\n")
    (package / "inner" / "ended.py").write_text("raise SystemExit('never run while compiling')\n")
    (package / "inner" / "broken.py").write_text("def (:\n")
    header = MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    planted = compile("VALUE = 'from a planted file'\n", "sizes.py", "exec")
    (package / "inner" / "__pycache__" / SHIPPED).write_bytes(header + marshal.dumps(planted))
    sandbox = BubblewrapSandbox()
    yield Bench(sandbox, folder, Path(sys.executable).resolve())
    sandbox.close()
    shutil.rmtree(folder)


def test_a_package_is_compiled_without_being_run_and_what_came_with_it_is_replaced(bench: Bench) -> None:
    compiler = Compiler(bench.sandbox, bench.folder / "notes", bench.folder / "work")
    assert bench.run("answer").result["value"] == "from a planted file"
    ensure_bytecode(compiler, bench.package, "abc", bench.interpreter)
    outcome = bench.run("answer")
    assert outcome.result == {"cached": f"/package/inner/__pycache__/{SHIPPED}", "value": "from the source"}
    assert (bench.package / "__pycache__" / f"cases.{sys.implementation.cache_tag}.pyc").is_file()
    assert not list((bench.package / "inner" / "__pycache__").glob("broken.*"))
    assert [path.name for path in compiler.notes.iterdir()] == [f"abc-{bench.interpreter.name}"]
    assert list(compiler.work_dir.iterdir()) == []


def test_it_is_done_once(bench: Bench) -> None:
    compiler = Compiler(bench.sandbox, bench.folder / "notes", bench.folder / "work")
    ensure_bytecode(compiler, bench.package, "abc", bench.interpreter)
    shutil.rmtree(bench.package / "__pycache__")
    ensure_bytecode(compiler, bench.package, "abc", bench.interpreter)
    assert not (bench.package / "__pycache__").exists()


def test_a_package_that_cannot_be_compiled_can_be_called(bench: Bench) -> None:
    compiler = Compiler(bench.sandbox, bench.folder / "notes", bench.folder / "work")
    ensure_bytecode(compiler, Path("/nonexistent"), "abc", bench.interpreter)
    assert not compiler.notes.exists()
    with bench.sandbox.start(replace(bench.spec("answer"), handler="cases:answer")) as run:
        assert follow(run).ended.exit_code == 0
