"""core/json_text: what it refuses, and what it reads."""

from collections.abc import Callable

import pytest

from mecapy_platform.core.json_text import JsonError, loads


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}', "duplicate_key"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
        (b"[" * 65 + b"]" * 65, "too_deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "too_deep"),
        (b"[" * 100_000, "too_deep"),
        (b"NaN", "not_finite"),
        (b"[-Infinity]", "not_finite"),
        (b"1e999", "not_finite"),
        (b"-1E+999", "not_finite"),
        (b"1" * 299 + b"e99", "not_finite"),
        (b"1" * 301, "out_of_range"),
        (b"-" + b"1" * 5000, "out_of_range"),
        (b'["e100", ' + b"1" * 301 + b"]", "out_of_range"),
        (b"\xff", "not_json"),
        (b"", "not_json"),
        (b"[1,]", "not_json"),
    ],
)
def test_what_is_no_json_of_ours_is_refused_by_name(text: bytes, code: str) -> None:
    with pytest.raises(JsonError) as caught:
        loads(text)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"[" * 64 + b"]" * 64, lambda value: isinstance(value, list)),
        (b"[[]," * 1 + b"[]]" * 1, lambda value: value == [[], []]),
        (b"[" + b"[]," * 100 + b"1]", lambda value: len(value) == 101),
        (b"1e308", lambda value: value == 1e308),
        (b"1" * 300, lambda value: value == int("1" * 300)),
        (b"1e-999", lambda value: value == 0),
        (b'"[[[[ \\" ]"', lambda value: value == '[[[[ " ]'),
        (b"\xef\xbb\xbf{}", lambda value: value == {}),
        (b'"' + b"[" * 200 + b'"', lambda value: len(value) == 200),
    ],
)
def test_what_is_json_is_read(text: bytes, value: Callable[[object], bool]) -> None:
    assert value(loads(text))
