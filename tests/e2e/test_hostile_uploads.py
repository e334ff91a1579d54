"""Uploads that mean harm through the real HTTP API.

The memory of its process stays bounded, and slow senders hold nobody up.
"""

import io
import os
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from select import select
from urllib.parse import urlsplit

import httpx2
import pytest

from support.bad_packages import small_manifest, zipped
from support.platform.embedded_process import wait_for
from support.platform.running_platform import Running, platform
from support.raw_zip import Member, build, zip64_end

MIB = 1 << 20
ALLOWED_BYTES = 64 * MIB
AT_ONCE = 6
HEAD_SECONDS, PATIENCE_SECONDS = 2, 3
SETTINGS = {"MECAPY_HEAD_SECONDS": str(HEAD_SECONDS), "MECAPY_BODY_PATIENCE_SECONDS": str(PATIENCE_SECONDS)}
BOUNDARY = "a-line-between"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform(SETTINGS) as started:
        yield started


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[httpx2.Client]:
    with running.client() as opened:
        yield opened


class Memory:
    """Memory of the API's process: its own share now, and the highest since the last look at idle."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc", str(pid))
        (self._folder / "clear_refs").write_text("5")
        self._idle = self._status("VmRSS")

    def now_above_idle(self) -> int:
        return self._status("VmRSS") - self._idle

    def above_idle(self) -> int:
        return self._status("VmHWM") - self._idle

    def _status(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


@pytest.fixture(scope="module", autouse=True)
def from_the_start(running: Running) -> Memory:
    """As it is before the first upload."""
    return Memory(running.parts["api"][0])


@pytest.fixture
def memory(running: Running, client: httpx2.Client) -> Iterator[Memory]:
    """Whatever a test sends, the API's process grows by at most what is promised, is the same one, and answers."""
    assert client.get("/ready").status_code == 200
    pids = running.parts["api"]
    watched = Memory(pids[0])
    yield watched
    assert client.get("/ready").status_code == 200
    assert running.parts["api"] == pids
    assert watched.above_idle() <= ALLOWED_BYTES, f"{watched.above_idle() / MIB:.1f} MiB above idle"


def send(running: Running, content: bytes, path: str = "/packages/from-zip") -> httpx2.Response:
    with running.client() as sender:
        return sender.post(
            path, params={"organization_slug": "demo"}, files={"file": ("package.zip", content, "application/zip")}
        )


def largest(name: str) -> bytes:
    """A package as large as one may be, which packing does not make smaller."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("mecapy.yml", small_manifest(name))
        target.writestr("code.py", "def run():\n    return {}\n")
        for index in range(4):
            target.writestr(f"mesh-{index}.bin", os.urandom(12_400_000))
    return packed.getvalue()


def many_members(name: Callable[[int], bytes], count: int = 9_990) -> bytes:
    return build([Member(name(index), b"") for index in range(count)])


def unchecked_directory() -> bytes:
    """An end that tells of a small directory, and a zip64 end that tells of one of 45 MB."""
    entry = Member(b"a").entry(0)
    content = entry * (45_000_000 // len(entry))
    small = build([])
    return content + zip64_end(len(content), 0, len(content) // len(entry), len(content)) + small[-22:]


HOSTILE: list[tuple[str, Callable[[], bytes], set[str]]] = [
    ("bomb", lambda: zipped(lambda target: target.writestr("bomb", bytes(400 * MIB))), {"archive_invalid"}),
    (
        "many small bombs",
        lambda: build([Member(b"%d" % number, bytes(4 * MIB)) for number in range(125)]),
        {"archive_too_large"},
    ),
    (
        "deep folders",
        lambda: many_members(lambda n: f"{n}/{'/'.join('abcdefghijklmnopqrstuvwxyz')}".encode()),
        {"archive_too_many_files"},
    ),
    ("bad names", lambda: many_members(lambda n: b"../%s-%d" % (b"n" * 250, n)), {"archive_invalid"}),
    (
        "long names",
        lambda: many_members(lambda n: b"%s-%d" % (b"n" * 200, n)),
        {"manifest_unreadable", "manifest_invalid"},
    ),
    (
        "a count that lies",
        lambda: build([Member(b"%d" % number, b"") for number in range(300_000)], told=1),
        {"archive_too_many_files"},
    ),
    ("zip64", unchecked_directory, {"archive_unreadable"}),
    ("end signatures", lambda: b"PK\5\6" * 12_000_000, {"archive_unreadable"}),
]


@pytest.mark.parametrize(("make", "codes"), [item[1:] for item in HOSTILE], ids=[item[0] for item in HOSTILE])
def test_a_hostile_archive_costs_little_memory_however_many_come_at_once(
    running: Running, memory: Memory, make: Callable[[], bytes], codes: set[str]
) -> None:
    content = make()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: send(running, content), range(2 * AT_ONCE)))
    assert {answer.status_code for answer in answers} <= {400, 413}, answers[0].text[:500]
    assert {answer.json()["code"] for answer in answers} <= codes


def test_the_largest_packages_cost_little_memory_however_many_come_at_once(running: Running, memory: Memory) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda index: send(running, largest(f"large-{index}")), range(4)))
    assert {answer.json()["package"]["status"] for answer in answers} <= {"ready", "building"}, answers[0].text[:500]


def test_archives_and_input_files_are_stored_as_a_stream(
    running: Running, client: httpx2.Client, memory: Memory
) -> None:
    content = largest("stored")
    stored = send(running, content, "/upload/archive")
    assert (stored.status_code, stored.json()["size"]) == (200, len(content)), stored.text[:500]
    text = small_manifest("reads").replace("inputs: {}", "inputs: {mesh: 'File[bin]'}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        target.writestr("mecapy.yml", text)
        target.writestr("code.py", "def run(mesh):\n    return {}\n")
    package = send(running, packed.getvalue()).json()["package"]
    form = {"file": ("mesh.bin", io.BytesIO(bytes(150 * MIB)), "application/octet-stream")}
    answer = client.post(f"/packages/{package['id']}/functions/run/uploads", data={"var_name": "mesh"}, files=form)
    assert (answer.status_code, answer.json().get("size_bytes")) == (201, 150 * MIB), answer.text[:500]


def part(name: str, content: bytes, more: str = "", filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{more}\r\n'.encode()
        + content
        + b"\r\n"
    )


CLOSE = f"--{BOUNDARY}--\r\n".encode()
FORMS: list[tuple[str, str, bytes]] = [
    ("many files", FORM, b"".join(part("file", bytes(900_000), filename="a.zip") for _ in range(50)) + CLOSE),
    ("many fields", FORM, b"".join(part("x", bytes(900_000)) for _ in range(50)) + CLOSE),
    ("very many fields", FORM, part("x", b"") * 500_000 + CLOSE),
    ("a long field", FORM, part("deploy_strategy", b"x" * (40 * MIB)) + CLOSE),
    ("a long header", FORM, part("file", b"", "X-Long: " + "y" * (40 * MIB) + "\r\n", "a.zip") + CLOSE),
    ("a long header name", FORM, part("file", b"", "y" * (40 * MIB) + ": 1\r\n", "a.zip") + CLOSE),
    ("many headers", FORM, part("file", b"", "X-Y: z\r\n" * 3_000_000, "a.zip") + CLOSE),
    ("a long name of a file", FORM, part("file", b"x", filename="a" * MIB) + CLOSE),
    ("no boundary", "multipart/form-data", part("file", bytes(40 * MIB), filename="a.zip") + CLOSE),
    (
        "a long boundary",
        f"multipart/form-data; boundary={'b' * 5000}",
        part("file", bytes(40 * MIB), filename="a.zip") + CLOSE,
    ),
    (
        "another boundary",
        "multipart/form-data; boundary=other",
        part("file", bytes(40 * MIB), filename="a.zip") + CLOSE,
    ),
    ("boundaries alone", FORM, f"--{BOUNDARY}\r\n".encode() * 1_500_000),
    ("no end", FORM, part("file", bytes(40 * MIB), filename="a.zip")),
    ("no name", FORM, f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n".encode() + CLOSE),
    ("no part", FORM, CLOSE),
    ("an unknown charset", f"{FORM}; charset=nonesuch", part("x", b"\xff\xfe") + CLOSE),
    ("a charset that is no text", f"{FORM}; charset=zlib", part("x", b"x") + CLOSE),
    ("another type", "application/x-www-form-urlencoded", b"file=" + b"x" * MIB),
]


@pytest.mark.parametrize(("kind", "body"), [item[1:] for item in FORMS], ids=[item[0] for item in FORMS])
@pytest.mark.parametrize("path", ["/packages/from-zip", "/upload/archive"])
def test_an_odd_form_is_refused_and_costs_little_memory(
    client: httpx2.Client, memory: Memory, path: str, kind: str, body: bytes
) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": kind})
    assert answer.status_code in {400, 413, 422}, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"]


def open_socket(running: Running, text: str, *, token: bool = True) -> socket.socket:
    address = urlsplit(running.url)
    opened = socket.create_connection((str(address.hostname), int(address.port or 80)), 30)
    head = text.replace("\n", "\r\n").replace("TOKEN", str(running.ready["token"]) if token else "x")
    opened.sendall(head.encode())
    return opened


UPLOAD = (
    f"POST /packages/from-zip HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\nContent-Type: "
    f"{FORM}\nContent-Length: 40000000\n\n"
)
PART = f'--{BOUNDARY}\nContent-Disposition: form-data; name="file"; filename="a.zip"\n\n'
SLOW = {
    "head": ("GET /ready HTTP/1.1\nHost: x\nX-Slow: ", {b"", b"HTTP/1.1 400 Bad Request"}),
    "no word": ("", {b"", b"HTTP/1.1 400 Bad Request"}),
    "upload": (UPLOAD + PART, {b"HTTP/1.1 408 Request Timeout"}),
    "json": (
        "POST /tasks HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\nContent-Length: 1000\n\n",
        {b"HTTP/1.1 408 Request Timeout"},
    ),
}


@pytest.mark.parametrize(("text", "firsts"), SLOW.values(), ids=SLOW)
def test_senders_of_a_byte_a_second_are_let_go_and_hold_nobody_up(
    running: Running, client: httpx2.Client, memory: Memory, text: str, firsts: set[bytes]
) -> None:
    senders = [open_socket(running, text) for _ in range(60)]  # twice as many as the API has threads
    over: dict[socket.socket, bytes] = {}

    def look() -> bool:
        for sender in [item for item in senders if item not in over]:
            try:
                sender.send(b"a")
                if select([sender], [], [], 0)[0]:
                    over[sender] = sender.recv(65536).partition(b"\r\n")[0]
            except OSError:
                over[sender] = b""
        began = time.monotonic()
        assert client.get("/packages").status_code == 200
        assert time.monotonic() - began < 5
        return len(over) == len(senders)

    for _ in range(40):
        if look():
            break
        select([], [], [], 0.5)
    assert len(over) == len(senders), f"{len(senders) - len(over)} still held"
    assert set(over.values()) <= firsts | {b""}
    assert set(over.values()) & firsts
    for sender in senders:
        sender.close()


ENDLESS = {
    "an address": ("GET /", b"a"),
    "a header": ("GET /ready HTTP/1.1\nHost: x\nX-Long: ", b"a"),
    "headers": ("GET /ready HTTP/1.1\nHost: x\n", b"X-Y: z\r\n"),
    "trailers": ("POST /tasks HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n1\na\n0\n", b"X-Y: z\r\n"),
    "a trailer": ("POST /tasks HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n1\na\n0\nX-Long: ", b"a"),
    "an extension of a chunk": ("POST /tasks HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n1;", b"a"),
}


@pytest.mark.parametrize(("text", "piece"), ENDLESS.values(), ids=ENDLESS)
def test_what_has_no_end_is_cut_off_before_it_costs_memory(
    running: Running, memory: Memory, text: str, piece: bytes
) -> None:
    """Of somebody without a token, who could send gigabytes."""
    sender = open_socket(running, text, token=False)
    assert sent_until_cut(sender, piece * (65536 // len(piece))) < 64 * MIB
    sender.close()


def sent_until_cut(sender: socket.socket, block: bytes) -> int:
    """Bytes that the sender's own side took before the other one closed."""
    for count in range(512 * MIB // len(block)):
        try:
            sender.sendall(block)
        except OSError:
            return count * len(block)
    return 512 * MIB


def test_a_body_of_another_length_than_it_says_ends_with_its_connection(
    running: Running, client: httpx2.Client, memory: Memory
) -> None:
    short = open_socket(running, UPLOAD)
    short.sendall(part("file", b"x", filename="a.zip"))
    short.shutdown(socket.SHUT_WR)
    assert wait_for(lambda: client.get("/ready").status_code == 200, "an answer")
    short.settimeout(20)
    assert not short.recv(65536).startswith(b"HTTP/1.1 2")
    short.close()


def test_nothing_of_what_was_refused_stays_on_the_disk(running: Running, client: httpx2.Client) -> None:
    incoming = running.data / "files" / "incoming"
    assert incoming.is_dir()
    assert wait_for(lambda: not list(incoming.iterdir()), f"an empty {incoming}")


def test_a_member_whose_checksum_lies_ends_the_build_by_name(running: Running) -> None:
    liar = Member(b"liar.bin", os.urandom(5000), crc=7, local={"crc": 7})
    answer = send(running, build([liar], manifest=small_manifest("liar").encode()))
    assert answer.json()["package"]["status"] == "error", answer.text
    error = answer.json()["validation_results"]["error"]
    assert error["code"] == "archive_invalid"
    assert "liar.bin" in error["message"]


def test_unpacking_the_most_that_is_allowed_costs_the_builder_little_memory(running: Running) -> None:
    watched = Memory(running.parts["worker-default"][0])
    block = os.urandom(1 << 14) * 64 * 100  # packs to a hundredth
    members = [
        Member(b"code.py", b"def run():\n    return {}\n"),
        *(Member(b"%d.bin" % number, block) for number in range(4)),
    ]
    answer = send(running, build(members, manifest=small_manifest("unpacks").encode()))
    assert answer.json()["package"]["status"] == "ready", answer.text[:1000]
    assert watched.above_idle() <= ALLOWED_BYTES, f"{watched.above_idle() / MIB:.1f} MiB above idle"


def test_after_all_of_it_the_memory_is_still_what_is_promised(from_the_start: Memory) -> None:
    """What one upload leaves is used by the next: nothing adds up."""
    assert from_the_start.now_above_idle() <= ALLOWED_BYTES
