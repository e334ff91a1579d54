"""Runs inside a sandbox of its own, over a package that is shown read-only and never imported.

Static checks, file by file.

Each file is read by a child process with limits; one that hangs or dies is itself a finding, and the others are still
read.
"""

import json
import os
import resource
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mecapy_platform.core.checks.decode import Source, read_source
from mecapy_platform.core.checks.files import Kind, file_findings, kind_of
from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.core.checks.hostile import files_rules
from mecapy_platform.core.checks.hostile.names import Names
from mecapy_platform.core.checks.hostile.rules import scan_source
from mecapy_platform.core.checks.imports import Import, imports_of
from mecapy_platform.core.checks.secrets import scan_secrets
from mecapy_platform.scan.bandit_scan import scan_bandit
from mecapy_platform.scan.restricted import violations

MAX_FINDINGS = 2_000
MAX_READ = 8 << 20
STACK_BYTES = 64 << 20
FILE_SECONDS = 30.0


@dataclass
class Order:
    """What is asked: which checks, and which modules live under RestrictedPython with which imports."""

    checks: frozenset[str]
    seconds: float
    restricted: tuple[str, ...] = ()
    formula: tuple[str, ...] = ()


@dataclass
class Found:
    findings: list[Finding] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    files: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "findings": [finding.as_dict() for finding in self.findings[:MAX_FINDINGS]],
            "left_out": max(0, len(self.findings) - MAX_FINDINGS),
            "imports": [[item.module, item.file, item.line, item.is_optional] for item in self.imports],
            "files": self.files,
        }


def run(raw: dict[str, Any], root: str = "/package") -> dict[str, Any]:
    """Scan everything below `root`; the answer is plain JSON."""
    order = Order(frozenset(raw["checks"]), float(raw["seconds"]), tuple(raw["restricted"]), tuple(raw["formula"]))
    paths = sorted(_files(root))
    found = Found(files=len(paths))
    deadline = time.monotonic() + order.seconds
    at = 0
    while at < len(paths):
        at = _batch(paths, at, root, order, found, deadline)
    return found.as_dict()


def _files(root: str) -> Iterator[str]:
    for folder, _folders, names in os.walk(root):
        for name in names:
            yield str(Path(folder, name).relative_to(root))


def _batch(paths: Sequence[str], start: int, root: str, order: Order, found: Found, deadline: float) -> int:
    """Let a child read from `start` on; the place where the next child has to go on."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _be_child(paths[start:], root, order, write_end)
    os.close(write_end)
    at = start
    buffer = b""
    why = ""
    while True:
        left = min(FILE_SECONDS, deadline - time.monotonic())
        if left <= 0 or not select.select([read_end], [], [], left)[0]:
            why = (
                f"Reading it took more than {FILE_SECONDS:g} s."
                if left > 0
                else f"The scan has used its {order.seconds:g} s."
            )
            break
        piece = os.read(read_end, 1 << 20)
        if not piece:
            break
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            _take(json.loads(line), found)
            at += 1
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    os.close(read_end)
    if at >= len(paths):
        return at
    why = why or f"The process that read it ended ({_ended(status)})."
    advice = "No honest source does this; simplify it, or leave it out."
    found.findings.append(Finding(CheckName.SOURCES, "scan_ended", Severity.HIGH, paths[at], 0, why, advice))
    return len(paths) if time.monotonic() >= deadline else at + 1


def _ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _take(line: dict[str, Any], found: Found) -> None:
    found.findings += [Finding.from_json(finding) for finding in line["findings"]]
    found.imports += [Import(*item) for item in line["imports"]]


def _be_child(paths: Sequence[str], root: str, order: Order, write_end: int) -> None:
    """Never returns. One line of JSON for each file, in order."""
    code = 1
    try:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, resource.getrlimit(resource.RLIMIT_STACK)[1]))
        with os.fdopen(write_end, "wb") as out:
            for path in paths:
                out.write(json.dumps(read_file(path, root, order)).encode() + b"\n")
                out.flush()
        code = 0
    finally:
        os._exit(code)


def read_file(path: str, root: str, order: Order) -> dict[str, Any]:
    """Every check over one file. Giving up on it is a finding, never a silence."""
    try:
        data = Path(root, path).read_bytes()[:MAX_READ] if Path(root, path).is_file() else b""
        findings, imports = _check(path, data, order)
    except (RecursionError, MemoryError) as error:
        why = f"It cannot be looked into within sensible limits: {type(error).__name__}."
        findings = [
            Finding(
                CheckName.SOURCES, "source_unparsable", Severity.HIGH, path, 0, why, "Nest less, split the expression."
            )
        ]
        imports = []
    kept = [finding for finding in findings if finding.check in order.checks]
    return {
        "findings": [item.as_dict() for item in kept[:MAX_FINDINGS]],
        "imports": [[*vars(item).values()] for item in imports],
    }


def _check(path: str, data: bytes, order: Order) -> tuple[list[Finding], list[Import]]:
    kind = kind_of(path, data[:256])
    findings = [*file_findings(path, data[:8])]
    if CheckName.SECRETS in order.checks:
        findings += scan_secrets(path, data)
    if kind is Kind.SCRIPT:
        findings += files_rules.scan_script(path, data)
    elif kind is Kind.PICKLE:
        findings += files_rules.scan_pickle(path, data)
    elif kind is Kind.NOTEBOOK:
        source, said = files_rules.notebook_source(path, data)
        findings += said
        findings += scan_source(source) if source is not None else []
    if kind is not Kind.PYTHON:
        return findings, []
    source, said = read_source(path, data)
    findings += said
    if source is None:
        return findings, []
    names = Names(source.tree)
    findings += scan_source(source, names)
    if CheckName.BANDIT in order.checks:
        findings += scan_bandit(source)
    if path in order.restricted:
        findings += _restricted(source, order.formula)
    imports, unknown = imports_of(source, names)
    return findings + unknown, imports


def _restricted(source: Source, allowed: tuple[str, ...]) -> Iterator[Finding]:
    for line, why in violations(source.data, source.path, allowed):
        advice = "Write the formula without it, or leave `checks.restricted_python` out of the manifest."
        yield Finding(CheckName.RESTRICTED_PYTHON, "restricted_python", Severity.HIGH, source.path, line, why, advice)
