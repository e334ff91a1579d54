"""Images that bring along what could be loaded into our first process: nothing of it is."""

from collections.abc import Iterator, Sequence

import pytest

from integration.test_docker_modes import Shop
from support.backends.docker_daemon import daemon
from support.backends.docker_images import load_hostile_image, need_busybox
from support.backends.hostile_images import (
    MARK,
    MODULES,
    PLACES,
    PLANTED,
    VARIABLES,
    Files,
    lists_its_libraries,
    loads_ahead,
    marking_library,
    names_a_module,
    says_where_the_library_is,
)


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
    return marking_library(tmp_path_factory.mktemp("library"))


def run_marked(shop: Shop, files: Files, environment: Sequence[str] = ()) -> tuple[object, str]:
    """The result that came back, and what a program that no loader starts finds of the mark."""
    image = load_hostile_image(shop.daemon, files, environment=environment)
    script = f"cp /workspace/in/data.json /workspace/out/data.json; test -e {MARK} && echo loaded; true"
    outcome = shop.run(image, "sh", "-c", script)
    return outcome.result, outcome.text("stdout")


def test_libraries_that_an_image_loads_ahead_are_not_loaded_into_our_first_process(shop: Shop, library: bytes) -> None:
    assert run_marked(shop, loads_ahead(library)) == ({"load": 3}, "")


def test_the_list_of_an_image_s_libraries_is_not_read(shop: Shop, library: bytes) -> None:
    assert run_marked(shop, lists_its_libraries(library)) == ({"load": 3}, "")


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_an_image_are_not_imported_into_our_first_process(shop: Shop, name: str) -> None:
    assert run_marked(shop, names_a_module(name)) == ({"load": 3}, "")


@pytest.mark.parametrize("place", PLACES)
def test_an_image_does_not_say_where_our_interpreter_finds_its_library(shop: Shop, place: str) -> None:
    assert run_marked(shop, says_where_the_library_is(place)) == ({"load": 3}, "")


def test_variables_of_an_image_are_not_our_first_process_s(shop: Shop, library: bytes) -> None:
    assert run_marked(shop, {"evil.so": library}, VARIABLES) == ({"load": 3}, "")


def test_our_corner_shows_nothing_of_the_image(shop: Shop) -> None:
    image = load_hostile_image(shop.daemon, PLANTED)
    outcome = shop.run(image, "sh", "-c", "cat /etc/ld.so.preload; ls -a /mecapy; touch /mecapy/own")
    assert "absent" not in outcome.text("stdout")
    assert "planted" not in outcome.text("stdout")
    assert "touch: /mecapy/own" in outcome.text("stderr")
