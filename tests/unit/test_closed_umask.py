"""What sandboxes read is open to their users, though the parts that make it make files for themselves alone."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mecapy_platform.embedded.users import CLOSED_UMASK
from mecapy_platform.sandbox.docker.container_config import write_run_folder
from mecapy_platform.sandbox.docker.waiting_containers import lay_inputs
from mecapy_platform.sandbox.root.etc import write_etc
from mecapy_platform.worker.checks.formulas import lay_guards


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    before = os.umask(CLOSED_UMASK)
    try:
        yield
    finally:
        os.umask(before)


def inputs_of_a_waiting_container(folder: Path) -> None:
    source = folder.with_name("source")
    (source / "files").mkdir(parents=True)
    (source / "files/deck.inp").write_text("*NODE")
    (source / "files/deck.inp").chmod(0o644)
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    lay_inputs(source, folder)


def guards(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    lay_guards(folder)


@pytest.mark.parametrize(
    "make", [write_etc, lambda folder: write_run_folder(folder, 1), inputs_of_a_waiting_container, guards]
)
def test_what_a_sandbox_reads_is_open(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "made")
    found = {path: path.lstat().st_mode for path in (tmp_path / "made", *(tmp_path / "made").rglob("*"))}
    needed = {path: 0o005 if stat.S_ISDIR(mode) else 0o004 for path, mode in found.items()}
    assert len(found) > 1
    assert [path for path, mode in found.items() if mode & needed[path] != needed[path]] == []
