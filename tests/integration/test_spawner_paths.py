"""What the spawner shows to a sandbox is what it judged, also when a folder becomes a link in between."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mecapy_platform.sandbox.spawner import system
from mecapy_platform.sandbox.spawner.config import checked_path
from mecapy_platform.sandbox.spawner.workspace import Workspace

SHOWN = 0
REFUSED = 7


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder).resolve()
        for name in ("point", "allowed/package/inner", "secret/package/inner"):
            (made / name).mkdir(parents=True)
        (made / "allowed/package/inner/file").write_text("allowed")
        (made / "secret/package/inner/file").write_text("secret")
        yield made


def ways() -> list[Callable[[Workspace, str], str]]:
    def as_package(workspace: Workspace, path: str) -> str:
        folder = workspace.make_packages()
        workspace.show_package(path, 1)
        return f"{folder}/1"

    return [as_package, Workspace.reach]


def shown_in_a_child(place: Path, way: Callable[[Workspace, str], str], path: str) -> int:
    """With mounts of its own, as the spawner's supervisors have."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            system.private_mounts(with_user_namespace=os.geteuid() != 0)
            found = Path(way(Workspace(str(place / "point")), path))
            text = (found if found.is_file() else found / "file").read_text()
            code = SHOWN if text == "allowed" else 1
        except OSError:
            code = REFUSED
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("way", ways(), ids=["package", "anything else"])
def test_what_was_judged_is_shown(place: Path, way: Callable[[Workspace, str], str]) -> None:
    path = checked_path(str(place / "allowed/package/inner"), (str(place / "allowed"),))
    assert shown_in_a_child(place, way, path) == SHOWN


@pytest.mark.parametrize("swapped", ["allowed/package", "allowed/package/inner", "allowed"])
@pytest.mark.parametrize("way", ways(), ids=["package", "anything else"])
def test_a_folder_that_became_a_link_after_it_was_judged_is_refused(
    place: Path, way: Callable[[Workspace, str], str], swapped: str
) -> None:
    path = checked_path(str(place / "allowed/package/inner"), (str(place / "allowed"),))
    (place / swapped).rename(place / "moved")
    (place / swapped).symlink_to(place / swapped.replace("allowed", "secret"))
    assert Path(path, "file").read_text() == "secret"
    assert shown_in_a_child(place, way, path) == REFUSED
