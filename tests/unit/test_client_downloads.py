"""Downloads: whole or not at all, resumed, and never outside the target directory."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mecapy_platform.client.artifacts import Artifact, DownloadError
from mecapy_platform.client.client import Client
from mecapy_platform.client.paths import Claimed, safe_parts, safe_target
from mecapy_platform.core.errors import InvalidInputError
from support.platform.fake_platform import TOKEN, FakePlatform, Seen, serve

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with serve() as fake:
        yield fake


@pytest.fixture
def client(platform: FakePlatform) -> Iterator[Client]:
    with Client(platform.url, TOKEN, pause=lambda _: None) as made:
        yield made


def artifact(name: str, content: bytes = CONTENT, url: str = "/storage/k?signature=s") -> Artifact:
    return Artifact(name, "artifact", len(content), hashlib.sha256(content).hexdigest(), url)


def ranged(seen: Seen) -> tuple[int, bytes]:
    start = int(seen.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    return (206 if start else 200), CONTENT[start:]


def test_a_file_arrives_whole_below_the_directory(platform: FakePlatform, client: Client, tmp_path: Path) -> None:
    platform.on("GET /storage/k", ranged)
    (path,) = client.artifacts.download_all((artifact("sub/field.vtu"),), tmp_path)
    assert path == tmp_path / "sub" / "field.vtu"
    assert path.read_bytes() == CONTENT
    assert [item.name for item in path.parent.iterdir()] == ["field.vtu"]


def test_a_signed_address_is_used_as_it_is_and_without_the_token(
    platform: FakePlatform, client: Client, tmp_path: Path
) -> None:
    platform.on("GET /storage/k", ranged)
    client.artifacts.download(artifact("a", url=f"{platform.url}/storage/k?expires=1&signature=a%2Bb"), tmp_path)
    (seen,) = platform.calls("GET /storage/k")
    assert seen.query == {"expires": "1", "signature": "a+b"}
    assert "authorization" not in seen.headers


def test_the_token_goes_to_no_other_host(platform: FakePlatform, client: Client, tmp_path: Path) -> None:
    with serve() as other:
        other.on("GET /storage/k", ranged)
        client.artifacts.download(artifact("a", url=f"{other.url}/storage/k"), tmp_path)
        assert "authorization" not in other.seen[0].headers


def test_a_download_that_broke_off_goes_on_where_it_stopped(
    platform: FakePlatform, client: Client, tmp_path: Path
) -> None:
    platform.on("GET /storage/k", ranged)
    (tmp_path / "a.part").write_bytes(CONTENT[:1000])
    path = client.artifacts.download(artifact("a"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert platform.seen[0].headers["range"] == "bytes=1000-"


def test_a_connection_that_breaks_in_the_middle_is_resumed(
    platform: FakePlatform, client: Client, tmp_path: Path
) -> None:
    def answer(seen: Seen) -> tuple[object, ...]:
        if "range" not in seen.headers:
            return 200, CONTENT[:500_000], {"Content-Length": str(len(CONTENT))}
        return ranged(seen)

    platform.on("GET /storage/k", answer)
    assert client.artifacts.download(artifact("a"), tmp_path).read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_again_and_then_refused(
    platform: FakePlatform, client: Client, tmp_path: Path
) -> None:
    platform.on("GET /storage/k", (200, b"x" * len(CONTENT)))
    with pytest.raises(DownloadError, match="damaged"):
        client.artifacts.download(artifact("a"), tmp_path)
    assert len(platform.calls("GET /storage/k")) == 2
    assert list(tmp_path.iterdir()) == []


def test_more_than_announced_is_not_kept(platform: FakePlatform, client: Client, tmp_path: Path) -> None:
    platform.on("GET /storage/k", (200, CONTENT * 3))
    with pytest.raises(DownloadError):
        client.artifacts.download(artifact("a"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/cron.d/evil", "a/../../evil", "C:\\evil", "C:evil", "", "."])
@pytest.mark.parametrize("is_windows", [True, False])
def test_a_name_that_points_elsewhere_is_refused(name: str, is_windows: bool) -> None:
    with pytest.raises(InvalidInputError, match="outside"):
        safe_parts(name, is_windows=is_windows)


@pytest.mark.parametrize("name", ["..\\evil", "\\\\host\\share\\evil", "a\\..\\..\\evil"])
def test_backslashes_are_separators_on_windows(name: str) -> None:
    with pytest.raises(InvalidInputError, match="outside"):
        safe_parts(name, is_windows=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("con.txt", "_con.txt"),
        ("ab:c.txt", "ab_c.txt"),
        ("tail. ", "tail"),
        ("NUL", "_NUL"),
        ("fine.vtu", "fine.vtu"),
        ("a\x00b", "a_b"),
    ],
)
def test_names_windows_cannot_hold_are_mended(name: str, expected: str) -> None:
    assert safe_parts(name, is_windows=True) == (expected,)


def test_two_names_that_are_one_on_this_system_become_two_files(tmp_path: Path) -> None:
    claimed = Claimed()
    first, second = safe_target(tmp_path, "Result.csv", claimed), safe_target(tmp_path, "result.csv", claimed)
    assert second.name == "result (2).csv"
    assert first.name == "Result.csv"


def test_a_link_that_leads_out_is_not_followed(platform: FakePlatform, client: Client, tmp_path: Path) -> None:
    platform.on("GET /storage/k", ranged)
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (target / "sub").symlink_to(outside)
    with pytest.raises(InvalidInputError, match="leads out"):
        client.artifacts.download(artifact("sub/deep/a"), target)
    (target / "b.part").symlink_to(outside / "planted")
    client.artifacts.download(artifact("b"), target)
    assert list(outside.iterdir()) == []
