"""Images that bring along what our first process might load, and how a program in them sees whether it did."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

Files = dict[str, bytes]  # of an image, by path
MARK = "/tmp/loaded"
LIBRARY = f"""
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) {{ open("{MARK}", O_CREAT | O_WRONLY, 0644); }}
"""
MODULE = f"open({MARK!r}, 'w').close()\nraise SystemExit\n".encode()
MODULES = ("_socket", "select", "_struct", "struct", "math", "socket", "os", "encodings", "usercustomize")
PLACES = ("mecapy/python", "mecapy/python/bin", "mecapy/usr", "mecapy/usr/bin")
VARIABLES = tuple(
    f"{name}=/evil.so" for name in ("LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
)
PLANTED: Files = {"etc/ld.so.preload": b"/absent.so\n", "mecapy/planted": b"x"}


def marking_library(folder: Path) -> bytes:
    """What leaves a mark in each process that loads it."""
    compiler = shutil.which("cc") or sysconfig.get_config_var("CC").split()[0]
    (folder / "mark.c").write_text(LIBRARY)
    built = folder / "mark.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-nostdlib", "-o", built, folder / "mark.c"], check=True, capture_output=True
    )
    return built.read_bytes()


def loads_ahead(library: bytes) -> Files:
    return {"etc/ld.so.preload": b"/evil.so\n", "evil.so": library}


def lists_its_libraries(library: bytes) -> Files:
    return {"etc/ld.so.cache": b"glibc-ld.so.cache1.1" + b"\xff" * 4096, "usr/lib/libc.so.6": library}


def names_a_module(name: str) -> Files:
    return {f"mecapy/{name}.py": MODULE, f"mecapy/python/{name}.py": MODULE, f"mecapy/usr/{name}.py": MODULE}


def says_where_the_library_is(place: str) -> Files:
    """Beside our interpreter, the places of another library of Python's."""
    version = f"python3.{sys.version_info.minor}"
    return {
        f"{place}/pyvenv.cfg": b"home = /evil/bin\n",
        f"{place}/pybuilddir.txt": b"/evil\n",
        f"evil/lib/{version}/os.py": MODULE,
        f"evil/lib/{version}/encodings/__init__.py": MODULE,
    }


def kinds(library: bytes) -> Mapping[str, Files]:
    """An image of each kind, with all that the kind has. `environment` has the VARIABLES."""
    modules = [names_a_module(name) for name in MODULES]
    places = [says_where_the_library_is(place) for place in PLACES]
    return {
        "libraries_loaded_ahead": loads_ahead(library),
        "list_of_libraries": lists_its_libraries(library),
        "modules_beside_ours": {path: content for module in modules for path, content in module.items()},
        "library_of_our_interpreter": {path: content for item in places for path, content in item.items()},
        "environment": {"evil.so": library},
        "our_corner": PLANTED,
    }
