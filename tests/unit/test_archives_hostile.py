"""Zips that mean harm, each a lie in one field.

Refused with the member's name and a code, nothing written outside the folder.
"""

import io
import os
import stat
import unicodedata
import zipfile
from pathlib import Path

import pytest

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.storage.archives import ArchiveLimits, extract, read_manifest
from support.raw_zip import MANIFEST, Member, build, end, extra_field, zip64_end

LINK = stat.S_IFLNK | 0o777


def refused(content: bytes, target: Path) -> MecapyError:
    """The refusal, which must be the same before a byte is unpacked and when it is; nothing may be written."""
    with pytest.raises(MecapyError) as at_upload:
        read_manifest(io.BytesIO(content))
    with pytest.raises(MecapyError) as caught:
        extract(io.BytesIO(content), target)
    assert (caught.value.code, caught.value.problems) == (at_upload.value.code, at_upload.value.problems)
    assert not list(target.iterdir())
    return caught.value


def named(content: bytes, target: Path) -> set[tuple[str, str]]:
    error = refused(content, target)
    assert error.code == "archive_invalid"
    return {(problem.path, problem.code) for problem in error.problems}


def test_what_the_builder_writes_is_an_ordinary_zip(tmp_path: Path) -> None:
    content = build([Member(b"src/a.py", b"import os\n"), Member(b"b.dat", b"12", method=0), Member("é.txt".encode())])
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    assert extract(io.BytesIO(content), tmp_path).files == ("mecapy.yml", "src/a.py", "b.dat", "é.txt")


LIES: list[tuple[str, Member, str]] = [
    ("name", Member(local={"name": b"b.txt"}), "header_differs"),
    ("shorter name", Member(local={"name": b"a"}), "header_differs"),
    ("method", Member(content=b"xy", local={"method": 0, "packed_bytes": 4}), "header_differs"),
    ("size", Member(local={"size_bytes": 7}), "header_differs"),
    ("packed size", Member(local={"packed_bytes": 7}), "header_differs"),
    ("checksum", Member(local={"crc": 7}), "header_differs"),
    ("encrypted in the header alone", Member(local={"flags": 0x801}), "header_differs"),
    ("UTF-8 in the header alone", Member(flags=0, local={"flags": 0x800}), "header_differs"),
    ("offset outside", Member(offset=1 << 30), "header_differs"),
    ("offset into data", Member(offset=5), "header_differs"),
    ("encrypted", Member(flags=0x801), "encrypted"),
    ("strongly encrypted", Member(flags=0x841), "encrypted"),
    ("hidden directory", Member(flags=0x2800), "encrypted"),
    ("deflate64", Member(method=9), "compression"),
    ("bzip2", Member(method=12), "compression"),
    ("lzma", Member(method=14), "compression"),
    ("zstandard", Member(method=93), "compression"),
    ("encrypted by AES", Member(method=99), "compression"),
    ("packed size into the directory", Member(packed_bytes=500, local={"packed_bytes": 500}), "overlap"),
]


@pytest.mark.parametrize(("member", "code"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_a_member_that_lies_is_refused_by_name(member: Member, code: str, tmp_path: Path) -> None:
    assert ("a.txt", code) in named(build([member]), tmp_path)


def test_sizes_that_follow_the_data_are_taken(tmp_path: Path) -> None:
    streamed = Member(content=b"12345", flags=0x808, local={"crc": 0, "packed_bytes": 0, "size_bytes": 0})
    assert "a.txt" in extract(io.BytesIO(build([streamed])), tmp_path).files


def test_a_bomb_that_hides_its_ratio_behind_a_large_packed_size_is_refused(tmp_path: Path) -> None:
    bomb = Member(b"bomb", bytes(8 << 20), packed_bytes=4 << 20, local={"packed_bytes": 4 << 20})
    assert ("bomb", "overlap") in named(build([bomb]), tmp_path)


def test_members_that_share_one_kernel_through_their_extra_fields_are_refused(tmp_path: Path) -> None:
    """The densest bomb: each header's extra field quotes the next header, all end in one block of packed data."""
    kernel = Member(b"z", bytes(1 << 20))
    inner = kernel.header()
    quoting = Member(b"y", bytes(1 << 20), extra=b"", local={"extra": extra_field(0x9999, inner)})
    data = MANIFEST.header() + MANIFEST.packed
    outer_at = len(data)
    data += quoting.header()
    entries = MANIFEST.entry(0) + quoting.entry(outer_at) + kernel.entry(len(data) - len(inner))
    data += kernel.packed
    content = data + entries + end(3, len(entries), len(data))
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ["mecapy.yml", "y", "z"]
    assert ("z", "overlap") in named(content, tmp_path)


def test_one_member_named_twice_in_the_directory_is_refused(tmp_path: Path) -> None:
    assert ("b.txt", "overlap") in named(
        build([Member(), Member(b"b.txt", offset=len(MANIFEST.header() + MANIFEST.packed))]), tmp_path
    )


NAMES: list[tuple[str, bytes, int, str]] = [
    ("drive", b"C:\\windows\\a", 0x800, "bad_path"),
    ("drive without a slash", b"C:a", 0x800, "bad_path"),
    ("share", b"\\\\host\\share\\a", 0x800, "bad_path"),
    ("stream of a file", b"a.txt:hidden", 0x800, "bad_path"),
    ("absolute", b"/etc/passwd", 0x800, "bad_path"),
    ("two slashes", b"//etc/passwd", 0x800, "bad_path"),
    ("upwards", b"a/../../b", 0x800, "bad_path"),
    ("upwards by backslash", b"..\\..\\b", 0x800, "bad_path"),
    ("upwards at the end", b"a/..", 0x800, "bad_path"),
    ("no name", b"", 0x800, "bad_path"),
    ("a slash alone", b"/", 0x800, "bad_path"),
    ("cp437", b"caf\x82.py", 0, "bad_name"),
    ("end of line", b"a\nb", 0x800, "bad_name"),
    ("escape", b"a\x1b[2Jb", 0x800, "bad_name"),
    ("direction mark", "a\u202egnp.py".encode(), 0x800, "bad_name"),
    ("no width", "a\u200bb".encode(), 0x800, "bad_name"),
    ("line separator", "a\u2028b".encode(), 0x800, "bad_name"),
    ("device", b"src/NUL", 0x800, "bad_name"),
    ("device with an ending", b"aux.py", 0x800, "bad_name"),
    ("device with two endings", b"com1.tar.gz", 0x800, "bad_name"),
    ("device with a space", b"con .txt", 0x800, "bad_name"),
    ("device with a raised digit", "lpt¹".encode(), 0x800, "bad_name"),
    ("dot at the end", b"code.py.", 0x800, "bad_name"),
    ("space at the end", b"code.py ", 0x800, "bad_name"),
    ("too many levels", b"d/" * 33 + b"a", 0x800, "bad_name"),
    ("too long a part", b"x" * 256, 0x800, "bad_name"),
    ("too long in all", b"/".join([b"x" * 200] * 6), 0x800, "bad_name"),
]


@pytest.mark.parametrize(("name", "flags", "code"), [item[1:] for item in NAMES], ids=[item[0] for item in NAMES])
def test_a_name_that_means_harm_is_refused(name: bytes, flags: int, code: str, tmp_path: Path) -> None:
    found = named(build([Member(name, flags=flags)]), tmp_path)
    assert code in {item for _path, item in found}
    assert all(path.isprintable() and len(path) <= 2000 for path, _code in found)


def test_a_name_that_says_utf8_and_is_not_is_refused(tmp_path: Path) -> None:
    for name in (b"caf\xe9.py", b"a\xed\xa0\x80b", b"a\xc0\xafb"):
        assert [problem.code for problem in refused(build([Member(name)]), tmp_path).problems] == ["bad_name"]


def test_names_that_only_look_like_devices_are_taken(tmp_path: Path) -> None:
    names = (b"console.py", b"auxiliary.py", b"com10.txt", b"null", b".gitignore", b"lpt.txt", "Größe ∅12.csv".encode())
    assert len(extract(io.BytesIO(build([Member(name) for name in names])), tmp_path).files) == 1 + len(names)


PAIRS = [
    ("a.py", "A.py", "case_collision"),
    ("src/a.py", "SRC/b.py", "case_collision"),
    (unicodedata.normalize("NFC", "é.py"), unicodedata.normalize("NFD", "é.py"), "case_collision"),
    ("straße.py", "STRASSE.py", "case_collision"),
    ("ﬁle.py", "file.py", "case_collision"),
    ("ΣΑΣ", "σας", "case_collision"),
    ("K.py", "\u212a.py", "case_collision"),  # the sign of the unit kelvin
    ("a", "a", "duplicate"),
    ("a", "a/b", "duplicate"),
    ("a/b", "a", "duplicate"),
]


@pytest.mark.parametrize(("first", "second", "code"), PAIRS)
def test_names_that_collide_somewhere_are_refused(first: str, second: str, code: str, tmp_path: Path) -> None:
    found = named(build([Member(first.encode()), Member(second.encode())]), tmp_path)
    assert {item for _path, item in found} == {code}


KINDS = [
    Member(mode=LINK, content=b"/etc/passwd"),
    Member(mode=LINK, content=b"/etc/passwd", system=0),  # a link whatever system claims to have made it
    Member(mode=LINK, content=b"/etc/passwd", system=19),
    Member(mode=0, low_attributes=0x400, system=0),  # a junction
    Member(mode=stat.S_IFCHR | 0o666),
    Member(mode=stat.S_IFBLK | 0o666),
    Member(mode=stat.S_IFIFO | 0o666),
    Member(mode=stat.S_IFSOCK | 0o666),
    Member(mode=stat.S_IFDIR | 0o755),
    Member(mode=0o150000 | 0o666),  # no kind at all
]


@pytest.mark.parametrize("member", KINDS)
def test_what_is_no_file_is_refused(member: Member, tmp_path: Path) -> None:
    assert named(build([member]), tmp_path) == {("a.txt", "not_a_file")}


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    assert named(build([Member(b"d/", b"hidden", mode=stat.S_IFDIR | 0o755)]), tmp_path) == {("d/", "not_a_file")}


def test_a_file_below_a_link_of_the_same_archive_is_refused(tmp_path: Path) -> None:
    error = refused(build([Member(b"up", b"/tmp", mode=LINK), Member(b"up/a.txt")]), tmp_path)
    assert ("up", "not_a_file") in {(problem.path, problem.code) for problem in error.problems}


def test_a_hard_link_of_a_unix_field_becomes_the_file_that_it_carries(tmp_path: Path) -> None:
    fields = extra_field(0x000D, bytes(12) + b"/etc/passwd") + extra_field(0x756E, bytes(14) + b"/etc/passwd")
    extract(io.BytesIO(build([Member(extra=fields)])), tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == b"x"
    assert (tmp_path / "a.txt").stat().st_nlink == 1


def test_special_bits_of_a_mode_are_not_kept(tmp_path: Path) -> None:
    extract(io.BytesIO(build([Member(mode=0o107777)])), tmp_path)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o755


def test_a_second_name_in_an_extra_field_is_refused(tmp_path: Path) -> None:
    second = extra_field(0x7075, b"\1" + bytes(4) + b"../../evil")
    assert named(build([Member(extra=second)]), tmp_path) == {("a.txt", "bad_name")}


GOOD = build([Member()])
SHIFTED = build([Member()], prefix=b"#!/bin/sh\n")


@pytest.mark.parametrize(
    "content",
    [
        b"#!/bin/sh\n" + GOOD,
        GOOD + b"more",
        GOOD + GOOD,
        build([Member()], between=b"hidden"),
        build([Member()], told=1),
        build([Member()], told=5),
        build([Member()], comment=end(0, 0, 0)),
        build([Member()], comment=b"x" * 100 + end(0, 0, 0)),
        GOOD[:-22] + zip64_end(40 << 20, 0, 1 << 20, len(GOOD) - 22) + GOOD[-22:],
        GOOD[:-18] + b"\1\0" + GOOD[-16:],  # the second disk of several
    ],
    ids=[
        *("prefix", "suffix", "two archives", "between directory and end", "told too few", "told too many"),
        *("two ends", "two ends and more", "zip64", "several disks"),
    ],
)
def test_an_archive_that_reads_in_two_ways_is_refused(content: bytes, tmp_path: Path) -> None:
    assert refused(content, tmp_path).code == "archive_unreadable"


def test_a_zip64_directory_does_not_stand_in_for_the_one_that_was_checked(tmp_path: Path) -> None:
    """Python's reader takes a zip64 record wherever its locator stands; its directory must not be one of millions."""
    many = b"".join(Member(f"f{index}".encode()).entry(0) for index in range(2000))
    head = MANIFEST.header() + MANIFEST.packed
    small = MANIFEST.entry(0)
    record = zip64_end(len(many), len(head), 2000, len(head) + len(many))
    content = head + many + record + end(1, len(small), len(head) + len(many) + len(record) - len(small))
    assert len(zipfile.ZipFile(io.BytesIO(content)).namelist()) == 2000
    assert refused(content, tmp_path).code == "archive_unreadable"


def test_data_before_the_first_member_is_refused_though_every_offset_counts_it(tmp_path: Path) -> None:
    assert zipfile.ZipFile(io.BytesIO(SHIFTED)).testzip() is None
    assert named(SHIFTED, tmp_path) == {("mecapy.yml", "overlap")}


def test_a_comment_at_the_end_is_taken(tmp_path: Path) -> None:
    content = build([Member()], comment=b"made by an ordinary tool")
    assert extract(io.BytesIO(content), tmp_path).files == ("mecapy.yml", "a.txt")


def test_a_stored_archive_at_the_end_is_not_taken_for_a_second_end(tmp_path: Path) -> None:
    extract(io.BytesIO(build([Member(b"inner.zip", GOOD, method=0)])), tmp_path)
    assert (tmp_path / "inner.zip").read_bytes() == GOOD


def test_folders_that_no_member_names_are_counted(tmp_path: Path) -> None:
    deep = [Member(f"{index}/{'d/' * 20}a".encode()) for index in range(20)]
    with pytest.raises(MecapyError) as caught:
        extract(io.BytesIO(build(deep)), tmp_path, ArchiveLimits(files=100))
    assert caught.value.code == "archive_too_many_files"
    assert not list(tmp_path.iterdir())


def test_long_names_and_comments_do_not_make_a_directory_of_any_size(tmp_path: Path) -> None:
    content = build([Member(b"a%d" % index, comment=b"x" * 60_000) for index in range(80)])
    assert refused(content, tmp_path).code == "archive_too_many_files"


def test_nothing_of_an_archive_that_lies_about_its_content_lands_outside(tmp_path: Path) -> None:
    """A checksum can only be seen false at the end of a member.

    By then it lies in the staging folder, and there alone.
    """
    target = tmp_path / "staging"
    target.mkdir()
    liar = Member(b"liar", os.urandom(5000), crc=7, local={"crc": 7})
    with pytest.raises(MecapyError) as caught:
        extract(io.BytesIO(build([liar])), target)
    assert [(problem.path, problem.code) for problem in caught.value.problems] == [("liar", "damaged")]
    assert [path.name for path in tmp_path.iterdir()] == ["staging"]
