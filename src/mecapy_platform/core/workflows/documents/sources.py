"""What feeds an input, as a document writes it: `node`, `node.port`, or `node/port` where dots have two readings."""

from collections.abc import Set as AbstractSet

from mecapy_platform.core.workflows.graph import INPUT_PORT


def read_source(text: str, keys: AbstractSet[str]) -> tuple[str, str]:
    """Node and port. A node's key may hold dots itself: the longest key that is there wins."""
    if "/" in text:
        key, _, port = text.partition("/")
        return key, port
    if text in keys:
        return text, INPUT_PORT
    place = text.rfind(".")
    while place > 0:
        if text[:place] in keys:
            return text[:place], text[place + 1 :]
        place = text.rfind(".", 0, place)
    key, _, port = text.partition(".")
    return key, port or INPUT_PORT


def written_source(key: str, port: str, keys: AbstractSet[str]) -> str:
    """The shortest text that is read as this node and port."""
    for text in (key if port == INPUT_PORT else "", f"{key}.{port}"):
        if text and read_source(text, keys) == (key, port):
            return text
    return f"{key}/{port}"
