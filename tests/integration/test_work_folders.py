"""Worker processes that share a volume never meet in a folder, and none removes what another still uses."""

import subprocess
import sys
import threading
from pathlib import Path

from mecapy_platform.worker.work_folder import WorkFolder, remove_leftovers

HOLD = """
import sys
from pathlib import Path
from mecapy_platform.worker.work_folder import WorkFolder
folder = WorkFolder.make(Path(sys.argv[1]))
(folder.path / "data.json").write_text("{}")
print(folder.path, flush=True)
sys.stdin.read()
"""


def holder(parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_two_processes_never_share_a_folder_whatever_their_pids(tmp_path: Path) -> None:
    first, second = WorkFolder.make(tmp_path), WorkFolder.make(tmp_path)
    assert first.path != second.path
    for folder in (first, second):
        folder.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_removed_only_when_its_owner_is_gone(tmp_path: Path) -> None:
    process, path = holder(tmp_path)
    with process:
        remove_leftovers(tmp_path)
        assert (path / "data.json").is_file(), "its owner lives"
        process.kill()
        process.wait(10)
    remove_leftovers(tmp_path)
    assert not path.exists()


def test_what_carries_no_proof_is_left_alone(tmp_path: Path) -> None:
    """A number is a pid of some container, and the folder of durable runs belongs to no process."""
    for name in ("12345", "kept"):
        (tmp_path / name / "in").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12345", "kept"]


def test_a_folder_just_made_is_not_taken_for_a_leftover_by_those_who_start_beside_it(tmp_path: Path) -> None:
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            remove_leftovers(tmp_path)

    sweepers = [threading.Thread(target=sweep) for _ in range(3)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for _ in range(300):
            folder = WorkFolder.make(tmp_path)
            (folder.path / "data.json").write_text("{}")
            folder.close()
    finally:
        done.set()
        for sweeper in sweepers:
            sweeper.join()
    assert list(tmp_path.iterdir()) == []
