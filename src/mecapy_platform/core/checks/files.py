"""What kind of file a member of an archive is: code by name or by first line, compiled code, something else."""

import re
from collections.abc import Iterator
from enum import StrEnum

from mecapy_platform.core.checks.findings import CheckName, Finding, Severity

PYTHON_ENDINGS = (".py", ".pyw", ".pyi", ".pyx", ".pth")
SCRIPT_ENDINGS = (".sh", ".bash", ".zsh", ".ksh", ".command", ".bat", ".cmd", ".ps1", ".pl", ".rb", ".js")
SHEBANG = re.compile(rb"#!.*?\b(python|pypy)[0-9.]*\b")
NATIVE_MAGIC = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xca\xfe\xba\xbe")
START_FILES = ("sitecustomize.py", "usercustomize.py")
PICKLE_ENDINGS = (".pkl", ".pickle", ".p", ".joblib", ".dill", ".sav")


class Kind(StrEnum):
    PYTHON = "python"
    SCRIPT = "script"
    NOTEBOOK = "notebook"
    PICKLE = "pickle"
    OTHER = "other"


def kind_of(path: str, head: bytes) -> Kind:
    """By the ending, else by how the file begins."""
    name = path.lower().rpartition("/")[2]
    if name.endswith((".py", ".pyw")) or SHEBANG.match(head):
        return Kind.PYTHON
    if name.endswith(".ipynb"):
        return Kind.NOTEBOOK
    if name.endswith(SCRIPT_ENDINGS) or head.startswith(b"#!"):
        return Kind.SCRIPT
    if name.endswith(PICKLE_ENDINGS) or (len(head) > 2 and head[:1] == b"\x80" and head[1] in range(2, 6)):
        return Kind.PICKLE
    return Kind.OTHER


def file_findings(path: str, head: bytes) -> Iterator[Finding]:
    """Files that run, or can be run, without a source to look at."""
    name = path.lower().rpartition("/")[2]
    if name.endswith(".pth"):
        yield _finding(
            "file_pth", Severity.MEDIUM, path, "A .pth file can run code when Python starts.", "Leave it out."
        )
    elif name in START_FILES:
        yield _finding(
            "file_at_start",
            Severity.MEDIUM,
            path,
            "Python imports a module of this name by itself.",
            "Rename the module.",
        )
    elif name.endswith((".pyc", ".pyo")):
        severity = Severity.LOW if "__pycache__" in path.split("/") else Severity.HIGH
        yield _finding(
            "file_bytecode", severity, path, "Compiled Python cannot be looked into.", "Ship the source instead."
        )
    elif name.endswith((".so", ".pyd", ".dll", ".dylib")) or ".so." in name or head.startswith(NATIVE_MAGIC):
        why = "Native code cannot be looked into."
        yield _finding(
            "file_native", Severity.MEDIUM, path, why, "Prefer a wheel of the package index in requirements.txt."
        )


def _finding(rule: str, severity: Severity, path: str, why: str, advice: str) -> Finding:
    return Finding(CheckName.SOURCES, rule, severity, path, 0, why, advice)
