"""Hostile content in files that are no Python source: scripts, notebooks, pickles."""

import json
import pickletools
from collections.abc import Iterator

from mecapy_platform.core.checks.decode import Source, read_source
from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.core.checks.hostile.calls import DANGEROUS
from mecapy_platform.core.checks.hostile.texts import hostile_texts

ADVICE = "Leave the file out of the archive, or ask an administrator of the organization to relax the check `hostile`."
RISKY_MODULES = {
    "os",
    "posix",
    "nt",
    "subprocess",
    "pty",
    "socket",
    "ctypes",
    "importlib",
    "runpy",
    "builtins",
    "__builtin__",
    "sys",
    "shutil",
}
HARMLESS = {
    ("builtins", name)
    for name in ("set", "frozenset", "complex", "slice", "range", "bytearray", "list", "dict", "tuple", "object", "int")
}
MAX_OPERATIONS = 200_000


def scan_script(path: str, data: bytes) -> Iterator[Finding]:
    """A shell script or the like, by its lines."""
    for number, line in enumerate(data[: 1 << 20].decode("utf-8", "replace").splitlines(), 1):
        for rule, what in hostile_texts(line):
            yield Finding(
                CheckName.HOSTILE, rule, Severity.HIGH, path, number, f"A line that shows that {what}.", ADVICE
            )


def notebook_code(data: bytes) -> bytes:
    """The code cells of a notebook as one source; lines of magic commands become comments' neighbours, not code."""
    try:
        cells = json.loads(data).get("cells", [])
        texts = ["".join(cell.get("source", [])) for cell in cells if cell.get("cell_type") == "code"]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return b""
    lines = "\n".join(texts).splitlines()
    return "\n".join(
        f"import os; os.system({line[1:]!r})" if line.startswith("!") else line for line in lines if line[:1] != "%"
    ).encode()


def scan_pickle(path: str, data: bytes) -> Iterator[Finding]:
    """What a pickle calls when it is loaded, read off its opcodes; nothing is loaded."""
    texts: list[str] = []
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(data)):
            if count > MAX_OPERATIONS:
                return
            if operation.name in {
                "SHORT_BINUNICODE",
                "BINUNICODE",
                "UNICODE",
                "SHORT_BINSTRING",
                "BINSTRING",
                "STRING",
            }:
                texts = [*texts[-20:], str(argument)]
            named: tuple[str, str] | None = None
            if operation.name in {"GLOBAL", "INST"}:
                module, _, name = str(argument).partition(" ")
                named = (module, name)
            elif operation.name == "STACK_GLOBAL" and len(texts) > 1:
                named = (texts[-2], texts[-1])
            if named is not None and _is_risky(*named):
                why = f"Loading this pickle calls {named[0]}.{named[1]}."
                yield Finding(CheckName.HOSTILE, "pickle_that_runs", Severity.HIGH, path, 0, why, ADVICE)
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError):
        return


def _is_risky(module: str, name: str) -> bool:
    first = module.partition(".")[0]
    return (first in RISKY_MODULES and (module, name) not in HARMLESS) or f"{module}.{name}" in DANGEROUS


def notebook_source(path: str, data: bytes) -> tuple[Source | None, list[Finding]]:
    """A notebook's code as a source; one that does not parse (magic commands) is no finding."""
    source, findings = read_source(path, notebook_code(data))
    return source, [finding for finding in findings if finding.rule != "source_syntax"]
