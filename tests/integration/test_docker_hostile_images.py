"""Images that bring along what could be loaded into our first process: nothing of it is."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator

import pytest

from integration.test_docker_modes import Shop
from support.backends.docker_daemon import daemon
from support.backends.docker_images import load_hostile_image, need_busybox

MARK = "/tmp/loaded"
LIBRARY = f"""
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) {{ open("{MARK}", O_CREAT | O_WRONLY, 0644); }}
"""
MODULE = f"open({MARK!r}, 'w').close()\nraise SystemExit\n".encode()
NAMES = ("_socket", "select", "_struct", "struct", "math", "socket", "os", "encodings", "usercustomize")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    need_busybox()
    with daemon() as engine:
        made = Shop(engine, tmp_path_factory.mktemp("images"))
        yield made
        made.sandbox.close()
        made.daemon.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What leaves a mark in each process that loads it."""
    compiler = shutil.which("cc") or sysconfig.get_config_var("CC").split()[0]
    folder = tmp_path_factory.mktemp("library")
    (folder / "mark.c").write_text(LIBRARY)
    built = folder / "mark.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-nostdlib", "-o", built, folder / "mark.c"], check=True, capture_output=True
    )
    return built.read_bytes()


def run_marked(shop: Shop, files: dict[str, bytes]) -> tuple[object, str]:
    """The result that came back, and what a program that no loader starts finds of the mark."""
    image = load_hostile_image(shop.daemon, files)
    script = f"cp /workspace/in/data.json /workspace/out/data.json; test -e {MARK} && echo loaded; true"
    outcome = shop.run(image, "sh", "-c", script)
    return outcome.result, outcome.text("stdout")


def test_libraries_that_an_image_loads_ahead_are_not_loaded_into_our_first_process(shop: Shop, library: bytes) -> None:
    files = {"etc/ld.so.preload": b"/evil.so\n", "evil.so": library}
    assert run_marked(shop, files) == ({"load": 3}, "")


def test_the_list_of_an_image_s_libraries_is_not_read(shop: Shop, library: bytes) -> None:
    files = {"etc/ld.so.cache": b"glibc-ld.so.cache1.1" + b"\xff" * 4096, "usr/lib/libc.so.6": library}
    assert run_marked(shop, files) == ({"load": 3}, "")


@pytest.mark.parametrize("name", NAMES)
def test_modules_of_an_image_are_not_imported_into_our_first_process(shop: Shop, name: str) -> None:
    files = {f"mecapy/{name}.py": MODULE, f"mecapy/python/{name}.py": MODULE, f"mecapy/usr/{name}.py": MODULE}
    assert run_marked(shop, files) == ({"load": 3}, "")


@pytest.mark.parametrize("place", ["mecapy/python", "mecapy/python/bin", "mecapy/usr", "mecapy/usr/bin"])
def test_an_image_does_not_say_where_our_interpreter_finds_its_library(shop: Shop, place: str) -> None:
    version = f"python3.{sys.version_info.minor}"
    files = {
        f"{place}/pyvenv.cfg": b"home = /evil/bin\n",
        f"{place}/pybuilddir.txt": b"/evil\n",
        f"evil/lib/{version}/os.py": MODULE,
        f"evil/lib/{version}/encodings/__init__.py": MODULE,
    }
    assert run_marked(shop, files) == ({"load": 3}, "")


def test_our_corner_shows_nothing_of_the_image(shop: Shop) -> None:
    image = load_hostile_image(shop.daemon, {"etc/ld.so.preload": b"/absent.so\n", "mecapy/planted": b"x"})
    outcome = shop.run(image, "sh", "-c", "cat /etc/ld.so.preload; ls -a /mecapy; touch /mecapy/own")
    assert "absent" not in outcome.text("stdout")
    assert "planted" not in outcome.text("stdout")
    assert "touch: /mecapy/own" in outcome.text("stderr")
