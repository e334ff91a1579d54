"""Uploaded zips: what is taken, and everything that is refused."""

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from mecapy_platform.core.errors import InvalidInputError, MalformedError, MecapyError, TooLargeError
from mecapy_platform.storage.archives import ArchiveLimits, extract, read_manifest

MANIFEST = b'version: "1"\n'


def pack(*members: tuple[str, bytes] | tuple[str, bytes, int], manifest: str = "mecapy.yml") -> io.BytesIO:
    """A zip with a manifest and these members; the third item of one is its Unix mode."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, *mode in [(manifest, MANIFEST), *members]:
            info = zipfile.ZipInfo(name)
            info.filename = info.orig_filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (mode[0] if mode else stat.S_IFREG | 0o644) << 16
            info.create_system = 3
            archive.writestr(info, content)
    return file


def refusal(file: io.BytesIO, target: Path) -> MecapyError:
    with pytest.raises(MecapyError) as caught:
        extract(file, target)
    assert not any(path.is_file() for path in target.rglob("*") if path.name != "mecapy.yml")
    return caught.value


def test_a_package_is_unpacked_with_its_modes(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        done = extract(
            pack(("src/a.py", b"1"), ("run.sh", b"x", stat.S_IFREG | 0o700), ("empty/", b"", stat.S_IFDIR | 0o700)),
            tmp_path,
        )
    finally:
        os.umask(old)
    assert done.files == ("mecapy.yml", "src/a.py", "run.sh")
    assert done.size_bytes == len(MANIFEST) + 2
    assert (tmp_path / "src/a.py").read_bytes() == b"1"
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("src", "src/a.py", "run.sh", "empty")}
    assert modes == {"src": 0o755, "src/a.py": 0o644, "run.sh": 0o755, "empty": 0o755}


def test_one_top_folder_is_taken_off_and_rubbish_left_out(tmp_path: Path) -> None:
    file = pack(("pkg/a.py", b"1"), ("__MACOSX/pkg/._a.py", b"x"), ("pkg/.DS_Store", b"x"), manifest="pkg/mecapy.yml")
    assert read_manifest(file) == MANIFEST
    assert extract(file, tmp_path).files == ("mecapy.yml", "a.py")


def test_a_nested_zip_is_a_file(tmp_path: Path) -> None:
    inner = pack().getvalue()
    extract(pack(("inner.zip", inner)), tmp_path)
    assert (tmp_path / "inner.zip").read_bytes() == inner


@pytest.mark.parametrize("name", ["deep/er/mecapy.yml", "mecapy.yaml", "x.yml"])
def test_a_missing_manifest_is_said(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"no mecapy\.yml") as caught:
        read_manifest(pack(manifest=name))
    assert caught.value.code == "manifest_missing"


@pytest.mark.parametrize(
    "content", [b"", b"no zip", b"PK\x03\x04" + b"x" * 100, b"PK\x05\x06" + b"\xff" * 18, b"PK\x05\x06" + b"\x00" * 17]
)
def test_what_is_no_zip_is_unreadable(content: bytes) -> None:
    with pytest.raises(MecapyError) as caught:
        read_manifest(io.BytesIO(content))
    assert caught.value.code in {"archive_unreadable", "archive_too_many_files"}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../a", "bad_path"),
        ("a/../../b", "bad_path"),
        ("/etc/a", "bad_path"),
        ("C:/a", "bad_path"),
        ("a\\b", "bad_path"),
        ("./a", "bad_path"),
        ("a//b", "bad_path"),
        ("a/b//", "bad_path"),
        ("a\nb", "bad_name"),
        ("x" * 300, "bad_name"),
        ("d/" * 40 + "a", "bad_name"),
        ("MECAPY.yml", "case_collision"),
        ("mecapy.yml/a", "duplicate"),
    ],
)
def test_a_dangerous_name_is_refused_and_named(name: str, code: str, tmp_path: Path) -> None:
    error = refusal(pack((name, b"x")), tmp_path)
    assert error.code == "archive_invalid"
    assert code in {problem.code for problem in error.problems}


def test_a_name_with_nul_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO(pack(("a_b.py", b"x")).getvalue().replace(b"a_b.py", b"a\0b.py"))
    assert {problem.code for problem in refusal(file, tmp_path).problems} == {"bad_name"}


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    unmarked = pack(("caf_.py", b"x")).getvalue().replace(b"caf_.py", b"caf\xe9.py")
    assert {problem.code for problem in refusal(io.BytesIO(unmarked), tmp_path).problems} == {"bad_name"}
    marked = bytearray(pack(("café.py", b"x")).getvalue().replace("café".encode(), b"caf\xff\xfe"))
    assert {problem.code for problem in refusal(io.BytesIO(bytes(marked)), tmp_path).problems} == {"bad_name"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(kind: int, tmp_path: Path) -> None:
    error = refusal(pack(("evil", b"/etc/passwd", kind | 0o777)), tmp_path)
    assert [(problem.path, problem.code) for problem in error.problems] == [("evil", "not_a_file")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    assert {problem.code for problem in refusal(pack(("a", b"1"), ("a", b"2")), tmp_path).problems} == {"duplicate"}


def test_folders_that_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    assert {problem.code for problem in refusal(pack(("Src/a", b"1"), ("src/b", b"2")), tmp_path).problems} == {
        "case_collision"
    }


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    content = bytearray(pack(("a", b"x")).getvalue())
    at = content.rindex(b"PK\x01\x02")
    content[at + 8] |= 1
    assert {problem.code for problem in refusal(io.BytesIO(bytes(content)), tmp_path).problems} == {"encrypted"}


def test_another_compression_is_refused(tmp_path: Path) -> None:
    file = pack()
    with zipfile.ZipFile(file, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"x" * 100)
    assert {problem.code for problem in refusal(file, tmp_path).problems} == {"compression"}


def test_a_bomb_is_refused_by_its_ratio_before_it_is_unpacked(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        extract(pack(("bomb", bytes(8 << 20))), tmp_path)
    assert [(problem.path, problem.code) for problem in caught.value.problems] == [("bomb", "ratio")]


def test_a_header_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    content = bytearray(pack(("liar", os.urandom(5000))).getvalue())
    for size in (10, 9000):
        struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, size)
        struct.pack_into("<I", content, content.rindex(b"PK\x03\x04") + 22, size)
        target = tmp_path / str(size)
        target.mkdir()
        with pytest.raises(InvalidInputError) as caught:
            extract(io.BytesIO(bytes(content)), target)
        assert [(problem.path, problem.code) for problem in caught.value.problems] == [("liar", "damaged")]


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    content = bytearray(pack(("a", os.urandom(2000)), ("b", os.urandom(2000))).getvalue())
    last = content.rindex(b"PK\x01\x02")
    before = content.rindex(b"PK\x01\x02", 0, last)
    content[last + 42 : last + 46] = content[before + 42 : before + 46]
    assert "overlap" in {problem.code for problem in refusal(io.BytesIO(bytes(content)), tmp_path).problems}


def test_too_many_files_and_too_much_in_all_are_refused(tmp_path: Path) -> None:
    file = pack(*[(f"f{index}", b"x" * 10) for index in range(20)])
    for limits, code in (
        (ArchiveLimits(files=20), "archive_too_many_files"),
        (ArchiveLimits(total_bytes=100), "archive_too_large"),
    ):
        with pytest.raises(TooLargeError) as caught:
            extract(file, tmp_path, limits)
        assert caught.value.code == code


def test_a_count_that_lies_in_the_end_record_does_not_help(tmp_path: Path) -> None:
    content = bytearray(pack(*[(f"f{index}", b"x") for index in range(20)]).getvalue())
    end = content.rindex(b"PK\x05\x06")
    struct.pack_into("<HH", content, end + 8, 1, 1)
    with pytest.raises(TooLargeError):
        extract(io.BytesIO(bytes(content)), tmp_path, ArchiveLimits(files=10))
    assert not list(tmp_path.iterdir())


def test_a_planted_link_in_the_target_is_not_followed(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "src").symlink_to(outside)
    with pytest.raises(OSError, match="src"):
        extract(pack(("src/a.py", b"1")), target)
    assert not list(outside.iterdir())


def test_damaged_data_is_said_with_the_member(tmp_path: Path) -> None:
    content = bytearray(pack(("a", os.urandom(4000))).getvalue())
    content[2000] ^= 0xFF
    with pytest.raises((InvalidInputError, MalformedError)) as caught:
        extract(io.BytesIO(bytes(content)), tmp_path)
    assert caught.value.problems[0].path == "a"
