"""What tenants' code says is made fit for the database before it gets there."""

import pytest

from mecapy_platform.core.stored_text import storable, storable_json


@pytest.mark.parametrize(
    ("text", "kept"), [("plain é 漢", "plain é 漢"), ("a\0b", "a\ufffdb"), ("\ud800x\udfff", "\ufffdx\ufffd"), ("", "")]
)
def test_only_what_cannot_be_stored_is_replaced(text: str, kept: str) -> None:
    assert storable(text) == kept


def test_a_long_text_is_cut_and_says_so() -> None:
    assert storable("x" * 100, 20) == "x" * 11 + " .. [cut]"
    assert storable("x" * 20, 20) == "x" * 20


def test_every_text_of_a_document_is_made_storable() -> None:
    found = storable_json({"a\0": ["\ud800", 1.5, None, {"b": "\0"}]})
    assert found == {"a\ufffd": ["\ufffd", 1.5, None, {"b": "\ufffd"}]}
