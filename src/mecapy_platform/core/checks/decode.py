"""Reads a source as Python itself does: byte-order mark, PEP 263 cookie, UTF-8 else.

What Python would not run is said.
"""

import ast
import codecs
import io
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from mecapy_platform.core.checks.findings import CheckName, Finding, Severity

MAX_SOURCE_BYTES = 2 << 20
ORDINARY = (
    "utf-8",
    "utf-8-sig",
    "ascii",
    "latin-1",
    "iso-8859-1",
    "iso8859-1",
    "iso-8859-15",
    "iso8859-15",
    "cp1252",
    "cp1250",
)
BIDI = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
INVISIBLE = {chr(code) for code in (0x200B, 0x2060, 0xFEFF, *range(0xE0000, 0xE0080))}


@dataclass(frozen=True)
class Source:
    """A Python file that parses: its tree, and its text as decoded for patterns and lines."""

    path: str
    data: bytes
    text: str
    tree: ast.Module


def read_source(path: str, data: bytes) -> tuple[Source | None, list[Finding]]:
    """The source, or None with the reason among the findings."""
    if len(data) > MAX_SOURCE_BYTES:
        why = f"The file has {len(data)} bytes; more than {MAX_SOURCE_BYTES} of Python are not looked into."
        return None, [
            _finding("source_too_large", Severity.HIGH, path, 0, why, "Put data into a data file, split the code.")
        ]
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError, ValueError) as error:
        why = f"Its bytes cannot be decoded as Python decodes them: {error}"
        return None, [_finding("source_undecodable", Severity.HIGH, path, 0, why, "Save the file as UTF-8.")]
    findings = [*_encoding(path, encoding), *_characters(path, text)]
    if "\0" in text:
        findings.append(
            _finding("source_null_byte", Severity.HIGH, path, 0, "The source holds a NUL byte.", "Remove it.")
        )
        return None, findings
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data, path)
    except SyntaxError as error:
        why = f"It does not parse as Python: {error.msg}"
        advice = "Mend it, leave it out of the archive, or declare the runtime.version that reads it."
        return None, [*findings, _finding("source_syntax", Severity.MEDIUM, path, error.lineno or 0, why, advice)]
    except (RecursionError, MemoryError, ValueError) as error:
        why = f"It cannot be parsed within sensible limits: {type(error).__name__}"
        return None, [
            *findings,
            _finding("source_unparsable", Severity.HIGH, path, 0, why, "Nest less, split the expression."),
        ]
    return Source(path, data, text, tree), findings


def _encoding(path: str, encoding: str) -> Iterator[Finding]:
    if codecs.lookup(encoding).name not in {codecs.lookup(item).name for item in ORDINARY}:
        why = f"The source declares the encoding {encoding}, in which its bytes say something else than they show."
        yield _finding("source_encoding", Severity.HIGH, path, 1, why, "Save the file as UTF-8 and drop the cookie.")


def _characters(path: str, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.isascii():
            continue
        if BIDI & set(line):
            why = "Characters that turn the direction of writing make this line read otherwise than it runs."
            yield _finding("source_bidirectional", Severity.HIGH, path, number, why, "Remove the control characters.")
        elif INVISIBLE & set(line) and number > 1:
            yield _finding(
                "source_invisible",
                Severity.MEDIUM,
                path,
                number,
                "The line holds invisible characters.",
                "Remove them.",
            )
            return


def _finding(rule: str, severity: Severity, path: str, line: int, why: str, advice: str) -> Finding:
    return Finding(CheckName.SOURCES, rule, severity, path, line, why, advice)
