"""The guest's short way to import a module finds what the interpreter's own search finds, or leaves it to that."""

import json
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

from mecapy_platform.sandbox.guest import plain_import

PROGRAM = """
import importlib, json, sys
KEYS = ("__name__", "__file__", "__cached__", "__package__", "__doc__")
folder, name, way = sys.argv[1:]
sys.path.insert(0, GUEST)
import plain_import
sys.path[0] = folder
module = plain_import.import_plain(name, folder) if way == "plain" else importlib.import_module(name)
if module is None:
    told = None
else:
    spec = module.__spec__
    told = {
        "same": sys.modules[name] is module,
        "names": sorted(vars(module)),
        "attributes": [str(getattr(module, key, None)) for key in KEYS],
        "loader": [type(module.__loader__).__name__, module.__loader__.path, module.__loader__ is spec.loader],
        "spec": [spec.name, spec.origin, spec.cached, spec.has_location, spec.parent, spec.submodule_search_locations],
        "is loading": spec._initializing,
        "said": getattr(module, "SAID", None),
        "code": module.answer.__code__.co_filename if hasattr(module, "answer") else None,
        "source": importlib.import_module("inspect").getsource(module.answer) if hasattr(module, "answer") else None,
    }
print(json.dumps(told))
""".replace("GUEST", repr(str(Path(plain_import.__file__).parent)))
SOURCE = """\"\"\"What it does.\"\"\"
import sys
SAID = [__name__, __spec__._initializing, sys.modules[__name__].__file__ == __file__]

def answer():
    return 1
"""


def folder_with(
    tmp_path: Path, source: str = SOURCE, name: str = "mine", made_in: str | None = None, mode: str = "TIMESTAMP"
) -> Path:
    file = tmp_path / f"{name}.py"
    file.write_text(source)
    py_compile.compile(str(file), dfile=made_in, doraise=True, invalidation_mode=PycInvalidationMode[mode])
    return tmp_path


def ask(folder: Path, way: str, name: str = "mine", *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-I", *options, "-c", PROGRAM, str(folder), name, way]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", ["TIMESTAMP", "UNCHECKED_HASH"])
@pytest.mark.parametrize("made_in", [None, "/elsewhere/mine.py"])
def test_a_module_looks_as_if_it_had_been_searched(tmp_path: Path, made_in: str | None, mode: str) -> None:
    folder = folder_with(tmp_path, made_in=made_in, mode=mode)
    plain, searched = (json.loads(ask(folder, way).stdout) for way in ("plain", "search"))
    assert plain is not None
    assert plain == searched


def test_a_module_may_take_another_place_of_its_own(tmp_path: Path) -> None:
    folder = folder_with(
        tmp_path,
        "import sys, types\nkept = dict(SAID=__spec__.name, __spec__=__spec__, __loader__=__loader__)\n"
        "sys.modules[__name__] = types.SimpleNamespace(**kept)\n",
    )
    plain, searched = (json.loads(ask(folder, way).stdout) for way in ("plain", "search"))
    assert plain is not None
    assert plain == searched


def test_a_module_that_fails_is_not_there_afterwards(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "raise ValueError('as asked')\n")
    assert "as asked" in ask(folder, "plain").stderr
    program = PROGRAM.replace("module = plain", "try: plain").split("if module is None")[0]
    program += "except ValueError: print(name in sys.modules)"
    program = program.replace(' if way == "plain" else importlib.import_module(name)', "")
    told = subprocess.run(
        [sys.executable, "-I", "-c", program, str(folder), "mine", "plain"], capture_output=True, text=True, check=False
    )
    assert told.stdout == "False\n", told.stderr


OTHERS: dict[str, Callable[[Path], object]] = {
    "nothing compiled": lambda folder: shutil.rmtree(folder / "__pycache__"),
    "a newer source": lambda folder: os.utime(folder / "mine.py", (1, 1)),
    "a package of its name": lambda folder: (folder / "mine").mkdir(),
    "an extension of its name": lambda folder: (folder / "mine.abi3.so").write_bytes(b""),
    "a damaged module": lambda folder: [
        path.write_bytes(path.read_bytes()[:20]) for path in (folder / "__pycache__").iterdir()
    ],
    "no source": lambda folder: (folder / "mine.py").unlink(),
}


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_is_not_certain_is_searched(tmp_path: Path, other: str) -> None:
    folder = folder_with(tmp_path)
    OTHERS[other](folder)
    told = ask(folder, "plain")
    assert told.stdout == "null\n", told.stderr


@pytest.mark.parametrize("name", ["math", "json", "zipimport", "sys", "no.such", "mine-too"])
def test_a_name_that_stands_for_something_else_is_searched(tmp_path: Path, name: str) -> None:
    folder = folder_with(tmp_path) if "." in name or "-" in name else folder_with(tmp_path, name=name)
    told = ask(folder, "plain", name)
    is_ahead_of_the_path = (
        name in {"math", "zipimport", "sys"} & {*sys.builtin_module_names, "zipimport"} or not name.isidentifier()
    )
    assert (told.stdout == "null\n") == (is_ahead_of_the_path or name == "json"), told.stderr


@pytest.mark.parametrize(("mode", "option"), [("CHECKED_HASH", "default"), ("UNCHECKED_HASH", "always")])
def test_a_module_to_be_compared_with_its_source_is_searched(tmp_path: Path, mode: str, option: str) -> None:
    folder = folder_with(tmp_path, mode=mode)
    assert ask(folder, "plain", "mine", "--check-hash-based-pycs", option).stdout == "null\n"


def test_optimized_modules_have_another_name(tmp_path: Path) -> None:
    assert ask(folder_with(tmp_path), "plain", "mine", "-O").stdout == "null\n"
