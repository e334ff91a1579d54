from pathlib import Path

import pytest

from mecapy_platform.embedded.private_view import Need, plan


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A closed home in an open directory; pytest's own ancestors are opened as far as they are ours."""
    path = tmp_path / "home"
    (path / "project/.venv/bin").mkdir(parents=True)
    (path / "pythons/3.11.7/bin").mkdir(parents=True)
    path.chmod(0o700)
    return path


def outermost_closed(path: Path) -> Path:
    return next(item for item in reversed((path, *path.parents)) if not item.stat().st_mode & 0o001)


def test_an_open_path_needs_nothing() -> None:
    assert plan([Need(Path("/usr/bin")), Need(Path("/"))]) == plan([])


def test_the_outermost_closed_directory_is_covered_and_the_need_bound(home: Path) -> None:
    steps = plan([Need(home / "project/.venv"), Need(home / "project", is_writable=True)])
    assert steps.covers == {outermost_closed(home)}
    assert list(steps.binds.items()) == [(home / "project", True), (home / "project/.venv", False)]


def test_links_on_the_way_are_made_again(home: Path) -> None:
    (home / "pythons/3.11").symlink_to("3.11.7")
    (home / "project/.venv/bin/python").symlink_to(home / "pythons/3.11/bin")
    steps = plan([Need(home / "project/.venv/bin/python")])
    assert steps.links == {
        home / "project/.venv/bin/python": str(home / "pythons/3.11/bin"),
        home / "pythons/3.11": "3.11.7",
    }
    assert list(steps.binds) == [home / "pythons/3.11.7/bin"]


def test_a_loop_of_links_ends(home: Path) -> None:
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    assert set(plan([Need(home / "a")]).links) == {home / "a", home / "b"}
