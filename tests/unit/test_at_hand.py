"""What calls were made ready with is remembered, as long as it lies there, and not without bound."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mecapy_platform.sandbox.base import Environment
from mecapy_platform.worker.at_hand import AtHand


def claim(digest: str = "sha", lock: str | None = None) -> Any:
    return SimpleNamespace(
        archive_sha256=digest, runtime="3.11", interpreter="3.11.7", environment_digest=None, requirements_lock=lock
    )


def test_what_a_call_was_made_ready_with_is_found_by_calls_like_it(tmp_path: Path) -> None:
    known, environment = AtHand(), Environment(tmp_path / "python")
    known.note(claim(), tmp_path, environment)
    assert known.find(claim()) == (tmp_path, environment)
    assert known.find(claim("other")) is None
    assert known.find(claim(lock="numpy==2")) is None


@pytest.mark.parametrize("gone", ["package", "site", "vetted"])
def test_what_was_removed_is_not_at_hand(tmp_path: Path, gone: str) -> None:
    folders = {name: tmp_path / name for name in ("package", "site", "vetted")}
    for folder in folders.values():
        folder.mkdir()
    known = AtHand()
    known.note(claim(), folders["package"], Environment(tmp_path, folders["site"], folders["vetted"]))
    assert known.find(claim()) is not None
    folders[gone].rmdir()
    assert known.find(claim()) is None


def test_only_so_many_are_remembered(tmp_path: Path) -> None:
    known = AtHand(most=2)
    for digest in ("first", "second", "first", "third"):
        known.note(claim(digest), tmp_path, Environment(tmp_path))
    assert [known.find(claim(digest)) is not None for digest in ("first", "second", "third")] == [True, False, True]
