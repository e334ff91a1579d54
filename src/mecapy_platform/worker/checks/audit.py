"""Known vulnerabilities of the locked requirements.

By pip-audit's service, else by an offline database, else said to be not checked.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mecapy_platform.core.checks.findings import CheckName, Finding, Severity

PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
SERVICE = "mecapy_platform.worker.checks.audit_service"
REMEMBERED_SECONDS = 3600.0
QUIET_SECONDS = 600.0  # how long a service that did not answer is not asked again
KEPT_VARIABLES = ("PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
DATABASE_FORMAT = 1


@dataclass(frozen=True)
class Audited:
    """`said`: by what, or why not. `is_checked` False is never a pass."""

    findings: tuple[Finding, ...]
    is_checked: bool
    said: str


@dataclass(frozen=True)
class Auditor:
    """Where to ask. `seconds` bounds the whole question; `cache` keeps answers and remembers that nobody answered."""

    cache: Path
    seconds: float
    use_service: bool
    database: Path | None

    def audit(self, lock: str | None) -> Audited:
        packages = PINNED.findall(lock or "")
        if not packages:
            return Audited((), is_checked=True, said="no requirements")
        said = "the service is switched off"
        if self.use_service:
            answer, said = self._remembered(packages), ""
            if answer is None:
                answer, said = self._ask(packages)
            if answer is not None:
                return self._completed(from_service(answer, packages), answer["unknown"], packages)
        if self.database is not None:
            return from_database(self.database, packages, said)
        return Audited((), is_checked=False, said=f"not checked: {said}, and there is no offline database")

    def _completed(self, audited: Audited, unknown: Sequence[str], packages: Sequence[tuple[str, str]]) -> Audited:
        """What the service does not know is looked up in the offline file; without one it was not checked."""
        names = {canonicalize_name(name) for name in unknown}
        left = [package for package in packages if canonicalize_name(package[0]) in names]
        if not left:
            return audited
        why = f"the service does not know {', '.join(sorted(names))[:200]}"
        if self.database is None:
            return Audited(audited.findings, is_checked=False, said=f"not checked in full: {why}")
        rest = from_database(self.database, left, why)
        return Audited(
            audited.findings + rest.findings, is_checked=rest.is_checked, said=f"{audited.said}; {rest.said}"
        )

    def _remembered(self, packages: Sequence[tuple[str, str]]) -> Mapping[str, Any] | None:
        """The answer about the same versions of less than an hour ago: a redeploy asks nobody."""
        path = self._answer_path(packages)
        try:
            if not 0 <= time.time() - path.stat().st_mtime < REMEMBERED_SECONDS:
                return None
            answer: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return answer

    def _answer_path(self, packages: Sequence[tuple[str, str]]) -> Path:
        return self.cache / f"{hashlib.sha256(json.dumps(packages).encode()).hexdigest()}.json"

    def _ask(self, packages: Sequence[tuple[str, str]]) -> tuple[Mapping[str, Any] | None, str]:
        marker = self.cache / "not-answering"
        if marker.is_file() and 0 <= time.time() - marker.stat().st_mtime < QUIET_SECONDS:
            return None, "the service did not answer a moment ago"
        self.cache.mkdir(parents=True, exist_ok=True)
        question = json.dumps({"cache": str(self.cache), "seconds": self.seconds, "packages": packages})
        environment = {
            "HOME": str(self.cache),
            **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
        }
        command = [sys.executable, "-m", SERVICE]
        try:
            done = subprocess.run(
                command,
                input=question,
                capture_output=True,
                text=True,
                timeout=self.seconds,
                check=False,
                env=environment,
            )
            if done.returncode == 0:
                marker.unlink(missing_ok=True)
                answer: Mapping[str, Any] = json.loads(done.stdout)
                self._answer_path(packages).write_text(done.stdout, "utf-8")
                return answer, ""
            said = "the service did not answer"
        except subprocess.TimeoutExpired:
            said = f"the service did not answer within {self.seconds:g} s"
        except ValueError:
            said = "the service gave no readable answer"
        marker.touch()
        return None, said


def from_service(answer: Mapping[str, Any], packages: Sequence[tuple[str, str]]) -> Audited:
    versions = {canonicalize_name(name): version for name, version in packages}
    findings = [
        _finding(
            vulnerability["package"],
            versions.get(canonicalize_name(vulnerability["package"]), ""),
            vulnerability["id"],
            vulnerability["summary"],
            vulnerability["fixed"],
        )
        for vulnerability in answer["vulnerabilities"]
    ]
    return Audited(
        tuple(findings), is_checked=True, said=f"{len(packages) - len(answer['unknown'])} packages asked of the service"
    )


def from_database(path: Path, packages: Sequence[tuple[str, str]], why: str = "") -> Audited:
    """`{"format": 1, "updated": date, "advisories": [advisory]}`.

    An advisory is `{"id", "package", "affected": ["<2.1", ..], "fixed": [..], "summary"}`.
    """
    try:
        database = json.loads(path.read_text("utf-8"))
        if database["format"] != DATABASE_FORMAT:
            raise ValueError(f"format {database['format']!r} instead of {DATABASE_FORMAT}")  # noqa: TRY301 - one place says it
        by_name: dict[str, list[Mapping[str, Any]]] = {}
        for advisory in database["advisories"]:
            by_name.setdefault(canonicalize_name(str(advisory["package"])), []).append(advisory)
        findings = [
            _finding(
                name,
                version,
                str(item["id"]),
                str(item.get("summary", "")),
                list(item.get("fixed", ())),
                str(item.get("severity", "high")),
            )
            for name, version in packages
            for item in by_name.get(canonicalize_name(name), ())
            if _is_affected(version, item["affected"])
        ]
        said = (
            f"{len(packages)} packages against the offline database of "
            f"{database.get('updated', 'an unknown date')} ({why})"
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidSpecifier, InvalidVersion) as error:
        return Audited(
            (), is_checked=False, said=f"not checked: {why}, and the offline database cannot be read ({error})"
        )
    return Audited(tuple(findings), is_checked=True, said=said)


def _is_affected(version: str, ranges: Sequence[str]) -> bool:
    return any(SpecifierSet(item).contains(Version(version), prereleases=True) for item in ranges)


def _finding(
    name: str, version: str, advisory: str, summary: str, fixed: Sequence[str], severity: str = "high"
) -> Finding:
    advice = (
        f"Ask for {name}>={fixed[0]}."
        if fixed
        else "There is no mended version yet; see whether it concerns you, or use another library."
    )
    known = Severity(severity) if severity in set(Severity) else Severity.HIGH
    return Finding(
        CheckName.VULNERABILITIES,
        advisory[:80],
        known,
        "requirements.txt",
        0,
        f"{name} {version}: {summary}"[:400],
        advice,
    )
