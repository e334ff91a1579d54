import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mecapy_platform.sandbox.base import Limits, LogChunk, ProgressLine
from mecapy_platform.sandbox.output_streams import LINE_MAX, LineBuffer, ProgressTail

LIMITS = Limits(1, 256, 10.0, 1 << 20)


def test_lines_are_whole_whatever_the_pieces() -> None:
    buffer = LineBuffer("stdout")
    text = "één\nzwei\r\nthree".encode()
    pieces = [buffer.feed(bytes([byte])) for byte in text]
    assert "".join(pieces) == "één\nzwei\n"
    assert all(piece == "" or piece.endswith("\n") for piece in pieces)
    assert buffer.feed(b"", final=True) == "three"


def test_a_carriage_return_is_forwarded_so_that_a_progress_bar_moves() -> None:
    buffer = LineBuffer("stdout")
    assert buffer.feed(b"10 %\r20 %\r30 %") == "10 %\r20 %\r"


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert LineBuffer("stdout").feed(b"a\xffb\0c\n") == "a\ufffdb\ufffdc\n"


def test_a_line_without_end_is_forwarded_in_pieces() -> None:
    assert len(LineBuffer("stdout").feed(b"x" * (LINE_MAX + 1))) == LINE_MAX + 1


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "out").mkdir()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_progress_waits_for_the_end_of_a_line(top: int, tmp_path: Path) -> None:
    tail, path = ProgressTail(top, LIMITS), tmp_path / "out" / "progress.jsonl"
    assert list(tail.read()) == []
    path.write_text('{"step": 1}\n{"st')
    assert list(tail.read()) == [ProgressLine({"step": 1})]
    with path.open("a") as file:
        file.write('ep": 2}\n')
    assert list(tail.read()) == [ProgressLine({"step": 2})]


def test_the_last_line_counts_without_its_newline(top: int, tmp_path: Path) -> None:
    (tmp_path / "out" / "progress.jsonl").write_text('{"step": 1}')
    assert list(ProgressTail(top, LIMITS).read(final=True)) == [ProgressLine({"step": 1})]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"x": NaN}', '"text"', "[" * 100_000])
def test_a_malformed_line_is_said(top: int, tmp_path: Path, line: str) -> None:
    (tmp_path / "out" / "progress.jsonl").write_text(line + "\n" + json.dumps({"step": 2}) + "\n")
    said, good = list(ProgressTail(top, LIMITS).read())
    assert isinstance(said, LogChunk)
    assert said.stream == "platform"
    assert good == ProgressLine({"step": 2})


def test_a_progress_file_that_is_a_link_or_a_pipe_is_not_opened(top: int, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"secret": 1}\n')
    (tmp_path / "out" / "progress.jsonl").symlink_to(tmp_path / "secret")
    assert list(ProgressTail(top, LIMITS).read()) == []
    (tmp_path / "out" / "progress.jsonl").unlink()
    os.mkfifo(tmp_path / "out" / "progress.jsonl")
    assert list(ProgressTail(top, LIMITS).read()) == []
