"""Fetching requirements: from the package index alone, wheels alone, whatever the package asks for."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.embedded import interpreters, programs
from mecapy_platform.settings import Settings
from mecapy_platform.worker import index_forward
from mecapy_platform.worker.fetcher import Fetcher, make_fetcher
from mecapy_platform.worker.index_proxy import IndexProxy
from mecapy_platform.worker.interpreters import choose
from mecapy_platform.worker.requirements import read_requirements

FOUND = interpreters.find()


@pytest.fixture
def place() -> Iterator[Path]:
    """Below /tmp, which the confined uv sees empty but for what it is given."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def fetcher(place: Path) -> Fetcher:
    made = make_fetcher(place / "cache", Settings().package_index_url, 120, programs.bwrap())
    forward = place / "forward.py"
    shutil.copyfile(index_forward.__file__, forward)
    return Fetcher(made.uv, made.bwrap, made.cache, made.index_url, made.timeout_seconds, forward)


def test_a_lock_names_hashes_and_is_installed_to_them(fetcher: Fetcher, place: Path) -> None:
    interpreter = next(iter(FOUND.values()))
    lock = fetcher.lock(["iniconfig"], interpreter, place)
    assert "iniconfig==" in lock
    assert "--hash=sha256:" in lock
    assert (fetcher.install(lock, interpreter, place) / "iniconfig/__init__.py").is_file()


def test_a_wheel_of_another_content_is_not_installed(fetcher: Fetcher, place: Path) -> None:
    lock = "iniconfig==2.0.0 --hash=sha256:" + "0" * 64 + "\n"
    with pytest.raises(InvalidInputError) as raised:
        fetcher.install(lock, next(iter(FOUND.values())), place)
    assert raised.value.code == "requirements_unsolvable"


def test_a_project_that_does_not_exist_is_named(fetcher: Fetcher, place: Path) -> None:
    with pytest.raises(InvalidInputError, match="mecapy-no-such-project-at-all") as raised:
        fetcher.lock(["mecapy-no-such-project-at-all"], next(iter(FOUND.values())), place)
    assert raised.value.code == "requirements_unsolvable"


@pytest.mark.parametrize(
    "wanted", ["CONNECT 127.0.0.1:%d HTTP/1.1", "CONNECT localhost:%d HTTP/1.1", "GET http://127.0.0.1:%d/ HTTP/1.1"]
)
def test_the_proxy_connects_to_the_index_and_nowhere_else(place: Path, wanted: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as secret, IndexProxy(place / "proxy", frozenset({"index.invalid"})):
        secret.settimeout(0.5)
        with socket.socket(socket.AF_UNIX) as inside:
            inside.connect(str(place / "proxy"))
            inside.sendall((wanted % secret.getsockname()[1]).encode() + b"\r\n\r\n")
            assert b"200" not in inside.recv(100)
        with pytest.raises(TimeoutError):
            secret.accept()


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "--index-url https://evil.invalid/simple",
        "-e .",
        "./wheel.whl",
        "six @ https://evil.invalid/six.whl",
        "git+https://evil.invalid/x",
    ],
)
def test_requirements_reach_nowhere_else(line: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read_requirements(f"numpy>=2\n{line}\n".encode())
    assert [problem.path for problem in raised.value.problems] == ["requirements.txt:2"]


def test_a_missing_interpreter_is_refused_by_name_and_replaced_only_when_allowed() -> None:
    newest = next(reversed(FOUND.values()))
    only = {newest.minor: newest}
    with pytest.raises(InvalidInputError, match=r"Python 3\.9 is not on this platform"):
        choose(only, "3.9", allow_newer=False)
    assert choose(only, "3.9", allow_newer=True) == newest
