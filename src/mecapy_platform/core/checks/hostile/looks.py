"""Names written in look-alike letters: Python reads them as the plain name (NFKC), people do not."""

import io
import tokenize
import unicodedata
from collections.abc import Iterator

from mecapy_platform.core.checks.decode import Source
from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.core.checks.hostile.calls import DANGEROUS, INSIDES
from mecapy_platform.core.checks.hostile.names import BUILTINS, Names

RISKY = (
    {name.rpartition(".")[2] for name in DANGEROUS}
    | {name.partition(".")[0] for name in DANGEROUS}
    | INSIDES
    | {"getattr", "open"}
)


def look_alikes(source: Source, _names: Names) -> Iterator[Finding]:
    """High where the plain name is a dangerous one; low where it is another of Python's."""
    if source.text.isascii():
        return
    try:
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
            if token.type != tokenize.NAME or token.string.isascii():
                continue
            plain = unicodedata.normalize("NFKC", token.string)
            if plain.isascii() and (plain in RISKY or plain in BUILTINS):
                severity = Severity.HIGH if plain in RISKY else Severity.LOW
                why = f"A name in look-alike letters that Python reads as {plain}."
                yield Finding(
                    CheckName.HOSTILE,
                    "look_alike_name",
                    severity,
                    source.path,
                    token.start[0],
                    why,
                    "Write it in plain letters.",
                )
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return
