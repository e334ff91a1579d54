"""The made /etc of sandboxes, written by several workers of a node at once while runs read it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mecapy_platform.sandbox.root.etc import write_etc

WRITERS = 4


def test_workers_that_start_together_write_it_without_getting_in_each_others_way(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        together = threading.Barrier(WRITERS)

        def write(folder: Path = folder, together: threading.Barrier = together) -> None:
            together.wait()
            write_etc(folder)

        with ThreadPoolExecutor(WRITERS) as pool:
            for done in [pool.submit(write) for _ in range(WRITERS)]:
                done.result()
        assert not [*folder.glob(".new-*")]
        assert "task:" in (folder / "passwd").read_text()


def test_what_is_right_already_is_the_same_file_afterwards(tmp_path: Path) -> None:
    """A container has it mounted: another file would leave that one behind, an emptied one would be seen empty."""
    write_etc(tmp_path)
    names = ("passwd", "hosts", "covers/stat", "covers/loadavg", "covers/keys")
    before = {name: ((tmp_path / name).stat().st_ino, (tmp_path / name).stat().st_mtime_ns) for name in names}
    write_etc(tmp_path)
    assert {name: ((tmp_path / name).stat().st_ino, (tmp_path / name).stat().st_mtime_ns) for name in names} == before
    (tmp_path / "hosts").write_text("something else\n")
    write_etc(tmp_path)
    assert (tmp_path / "hosts").read_text().startswith("127.0.0.1 localhost")
