from collections.abc import Sequence

import pytest

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.sandbox.dockerfile import base_images


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        ("FROM scratch\nCOPY a /a", []),
        ("FROM mecapy/python:latest", ["mecapy/python:latest"]),
        ("from --platform=linux/amd64 base AS Build\nFROM build\nCOPY --from=Build /a /a", ["base"]),
        ("FROM a AS one\nFROM b\nCOPY --from=0 /x /x\nCOPY --from=other/image /y /y", ["a", "b", "other/image"]),
        ("# FROM hidden\nFROM \\\n  continued", ["continued"]),
        ("F\\\nROM joined", ["joined"]),
        ("FROM a\nCOPY --chown=1:1 --from=secret /x /x", ["a", "secret"]),
    ],
)
def test_bases_are_found(text: str, bases: Sequence[str]) -> None:
    assert base_images(text) == bases


@pytest.mark.parametrize(
    "text",
    [
        "ARG BASE=other\nFROM $BASE",
        "ARG BASE=other\nFROM ${BASE}:1",
        "FROM a\nCOPY --from=$STAGE /x /x",
        "# syntax=docker/dockerfile:1\nFROM a",
        "#escape=`\nFROM a",
        "FROM a\nRUN --mount=type=cache,target=/x true",
        "FROM a\nRUN --network=host true",
        "FROM a\nADD http://169.254.169.254/latest /x",
        "FROM a\nAD\\\nD http://169.254.169.254/latest /x",
        "FROM a\nADD\\\n# between\n\n https://host/x /x",
        'FROM a\nADD ["http:\\/\\/host/x", "/x"]',
        "FROM a\nENV U=http://host/x\nADD $U /x",
        "FROM a\nADD\vhttp://host/x /x",
        "FROM a\nONBUILD RUN true",
        "FROM a b c",
    ],
)
def test_what_hides_a_base_or_asks_for_more_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        base_images(text)
    assert caught.value.code == "dockerfile_refused"
