"""What reading the largest archives and manifests costs, in a process of its own."""

from pathlib import Path

from support.bad_packages import small_manifest
from support.memory import peak_growth
from support.raw_zip import Member, build

ARCHIVE_READER = """
import sys
from mecapy_platform.core.errors import MecapyError
from mecapy_platform.storage.archives import ArchiveLimits, read_manifest
"""
REFUSE_EACH = """
for path in sys.argv[1:]:
    with open(path, "rb") as content:
        try:
            read_manifest(content, ArchiveLimits(total_bytes=1))
        except MecapyError:
            continue
        sys.exit(path)
"""
MANIFEST_READER = "import sys\nfrom pathlib import Path\nfrom mecapy_platform.core.manifest import parse_manifest"
READ_EACH = "for path in sys.argv[1:]:\n    parse_manifest(Path(path).read_bytes())"


def test_the_largest_directory_costs_little_memory(tmp_path: Path) -> None:
    """Ten thousand members, as deep as they may be, differing at every level; and ten thousand that are all refused."""
    deep = [Member(f"{index:04d}/{'/'.join('abcdefghijklmnopqrstuvwxyz')}".encode(), b"") for index in range(9_000)]
    flat = [Member(b"%s-%d" % (b"n" * 200, index), b"") for index in range(9_990)]
    bad = [Member(b"../%s-%d" % (b"n" * 200, index), b"") for index in range(9_990)]
    paths = [tmp_path / name for name in ("deep.zip", "flat.zip", "bad.zip")]
    for path, members in zip(paths, (deep, flat, bad), strict=True):
        path.write_bytes(build(members))
    assert 0 < peak_growth(ARCHIVE_READER, REFUSE_EACH, *paths) < 40 << 20


def test_the_largest_manifests_cost_little_memory(tmp_path: Path) -> None:
    wide = small_manifest() + "".join(f"k{index}: [1, 2, 3]\n" for index in range(9_000))
    deep = small_manifest() + "x: " + "[" * 28 + ",".join("1" for _ in range(40_000)) + "]" * 28 + "\n"
    paths = [tmp_path / "wide.yml", tmp_path / "deep.yml"]
    for path, text in zip(paths, (wide, deep), strict=True):
        path.write_text(text)
    assert 0 < peak_growth(MANIFEST_READER, READ_EACH, *paths) < 40 << 20
