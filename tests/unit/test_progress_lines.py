"""Progress is written by tenants' code: a line that the database would refuse is said and skipped, never met there."""

import json

import pytest

from mecapy_platform.core.json_text import has_bad_text
from mecapy_platform.sandbox.base import LogChunk, ProgressLine
from mecapy_platform.sandbox.output_streams import _parse_progress


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b"{",
        b'{"step": NaN}',
        b'{"step": 1e400}',
        b'{"m": "a\\u0000b"}',
        b'{"m\\ud800": 1}',
        b'{"m": ["\\udfff"]}',
        b"[" * 60000,
        b"\xff",
        b'{"step": 1' + b"0" * 400 + b"}",
        b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"a": 1, "a": 2}',
    ],
)
def test_what_cannot_be_stored_is_skipped_with_a_word(line: bytes) -> None:
    said = _parse_progress(line)
    assert isinstance(said, LogChunk)
    assert said.stream == "platform"
    assert "skipped" in said.text
    assert not has_bad_text(said.text)


def test_an_ordinary_line_is_kept_as_it_is() -> None:
    record = {"step": 2, "total": 5, "message": "résumé \N{GRINNING FACE}"}
    assert _parse_progress(json.dumps(record).encode()) == ProgressLine(record)
