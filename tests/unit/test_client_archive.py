"""Packing a folder: the same bytes for the same content, nothing that does not belong, nothing from outside."""

import os
import zipfile
from pathlib import Path

import pytest

from mecapy_platform.client.archive import package_files, write_zip
from mecapy_platform.client.starter import write_package
from mecapy_platform.core.errors import ConflictError, InvalidInputError, TooLargeError


def make(folder: Path, *names: str) -> Path:
    for name in ("mecapy.yml", *names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def packed(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in package_files(folder)}


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a", "b.py", "sub/c.py"), make(tmp_path / "b", "sub/c.py", "b.py")
    os.utime(second / "b.py", (1, 1))
    write_zip(first, tmp_path / "1.zip")
    write_zip(second, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "1.zip").namelist() == ["b.py", "mecapy.yml", "sub/c.py"]


def test_what_never_belongs_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "h.py", "__pycache__/h.pyc", ".git/config", ".venv/bin/python", "sub/.pytest_cache/x", ".env")
    assert packed(tmp_path) == {"mecapy.yml", "h.py"}


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ("*.log", {"data/a.csv", "data/deep/b.csv", "keep.csv"}),
        ("data/", {"keep.csv", "x.log"}),
        ("/data/*.csv", {"data/deep/b.csv", "keep.csv", "x.log"}),
        ("data/**/b.csv", {"data/a.csv", "keep.csv", "x.log"}),
        ("*.csv\n!keep.csv", {"keep.csv", "x.log"}),
        ("# only a remark\n\n", {"data/a.csv", "data/deep/b.csv", "keep.csv", "x.log"}),
    ],
)
@pytest.mark.parametrize("name", [".gitignore", ".mecapyignore"])
def test_ignore_files_are_honoured(tmp_path: Path, name: str, rules: str, kept: set[str]) -> None:
    make(tmp_path, "data/a.csv", "data/deep/b.csv", "keep.csv", "x.log")
    (tmp_path / name).write_text(rules)
    assert packed(tmp_path) - {"mecapy.yml", name} == kept


def test_an_ignore_file_of_a_subfolder_speaks_for_that_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "sub/a.csv", "sub/b.csv")
    (tmp_path / "sub" / ".gitignore").write_text("/a.csv")
    assert packed(tmp_path) == {"mecapy.yml", "a.csv", "sub/b.csv", "sub/.gitignore"}


def test_links_out_of_the_folder_are_refused_all_at_once(tmp_path: Path) -> None:
    folder = make(tmp_path / "p", "inside.py")
    (folder / "secret").symlink_to("/etc/passwd")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "gone").symlink_to("nowhere")
    (folder / "fine").symlink_to("inside.py")
    with pytest.raises(InvalidInputError) as caught:
        write_zip(folder, tmp_path / "p.zip")
    assert {problem.path for problem in caught.value.problems} == {"secret", "folder", "gone"}


def test_a_link_inside_the_folder_is_packed_as_a_file(tmp_path: Path) -> None:
    folder = make(tmp_path / "p", "inside.py")
    (folder / "fine.py").symlink_to("inside.py")
    write_zip(folder, tmp_path / "p.zip")
    assert zipfile.ZipFile(tmp_path / "p.zip").read("fine.py") == b"inside.py"


def test_a_folder_without_a_manifest_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="mecapy init"):
        write_zip(tmp_path, tmp_path / "p.zip")


def test_a_package_above_the_limit_names_its_largest_files(tmp_path: Path) -> None:
    folder = make(tmp_path / "p")
    (folder / "mesh.bin").write_bytes(os.urandom(300_000))
    with pytest.raises(TooLargeError, match=r"mesh\.bin \(0\.3 MB\)"):
        write_zip(folder, tmp_path / "p.zip", limit_bytes=100_000)


def test_a_new_package_is_written_and_never_over_something(tmp_path: Path) -> None:
    written = write_package(tmp_path / "bolts", "bolts")
    assert tmp_path / "bolts" / "mecapy.yml" in written
    assert "__NAME__" not in "".join(path.read_text() for path in written)
    with pytest.raises(ConflictError, match="not empty"):
        write_package(tmp_path / "bolts", "bolts")


@pytest.mark.parametrize("name", ["Bolt Sizing", "-x", "x--y", "", "x_y"])
def test_a_name_that_is_none_gets_a_suggestion(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="Try '"):
        write_package(tmp_path / "p", name)
