"""What comes out of the sandbox while a package is built is read with suspicion."""

import json
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.errors import ConfigurationError, InvalidInputError
from mecapy_platform.core.requirements import read_requirements
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.worker.build_package import _signatures
from mecapy_platform.worker.interpreters import choose
from mecapy_platform.worker.judging import Judge

JUDGE = Judge(Bounds(seconds=10, memory_bytes=1 << 28))
HANDLERS = {"size": "bolts:size"}
PYTHON_311 = Interpreter("3.11.9", Path("/usr/bin/python3.11"), Path("/usr"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"1",
        b'{"size": 1}',
        b'{"size": {}, "more": {}}',
        b"{}",
        b'{"size": NaN}',
        b'{"size": {"doc": "a\\u0000"}}',
        b"\xff",
        b'{"size": ' + b'{"a": ' * 5000 + b"1" + b"}" * 5001,
        b'{"size": {"n": 1' + b"0" * 400 + b"}}",
        b'{"size": "' + b"x" * (5 << 20) + b'"}',
    ],
)
def test_a_forged_description_of_handlers_is_an_error_of_the_package(text: bytes) -> None:
    with pytest.raises(InvalidInputError) as raised:
        _signatures(JUDGE, text, HANDLERS)
    assert raised.value.code == "handler_broken"


def test_an_honest_description_is_taken() -> None:
    described: dict[str, Any] = {"size": {"parameters": [], "returns": None, "doc": None}}
    assert _signatures(JUDGE, json.dumps(described).encode(), HANDLERS) == (described, None)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"numpy\n--index-url http://127.0.0.1/simple\n", "requirement_invalid"),
        (b"-e .\n", "requirement_invalid"),
        (b"./wheels/mine.whl\n", "requirement_invalid"),
        (b"mine @ http://127.0.0.1/mine.whl\n", "requirement_url"),
        (b"mine @ file:///etc/passwd\n", "requirement_url"),
    ],
)
def test_requirements_that_reach_elsewhere_are_refused_with_their_line(content: bytes, code: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read_requirements(lambda _: content)
    assert raised.value.code == "requirements_invalid"
    assert [problem.code for problem in raised.value.problems] == [code]
    assert raised.value.problems[0].path.startswith("requirements.txt:")


@pytest.mark.parametrize("content", [b"numpy\xff\n", b"\xff\xfen\0u\0m\0p\0y\0"])
def test_requirements_that_are_no_utf8_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidInputError, match="UTF-8"):
        read_requirements(lambda _: content)


def test_a_missing_interpreter_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"Python 3\.10 is not on this node \(it has 3\.11\)") as raised:
        choose({"3.11": PYTHON_311}, "3.10", allow_newer=False)
    assert raised.value.code == "interpreter_missing"


def test_only_a_setting_allows_the_nearest_newer_interpreter_and_never_an_older_one() -> None:
    assert choose({"3.11": PYTHON_311}, "3.10", allow_newer=True) is PYTHON_311
    with pytest.raises(ConfigurationError, match=r"Python 3\.12"):
        choose({"3.11": PYTHON_311}, "3.12", allow_newer=True)
