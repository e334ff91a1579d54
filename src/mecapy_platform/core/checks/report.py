"""The report of the checks of one version: what was asked, what was found, what stops it.

Kept as JSON with the version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mecapy_platform.core.checks.findings import CheckName, Finding
from mecapy_platform.core.checks.policy import Policy

KEPT_FINDINGS = 500
KEPT_PER_RULE = 25


@dataclass
class Report:
    """Filled while a build goes on. `not_checked` says why a check gave no answer: that is never a pass."""

    policy: Policy
    findings: list[Finding] = field(default_factory=list)
    not_checked: dict[CheckName, str] = field(default_factory=dict)
    said: dict[CheckName, str] = field(default_factory=dict)
    dependencies: Sequence[Mapping[str, str]] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    files: int = 0
    left_out: int = 0

    def add(self, findings: Sequence[Finding]) -> None:
        """Findings of checks that are on; doubles are dropped."""
        for finding in findings:
            if self.policy.runs(finding.check) and finding not in self.findings:
                self.findings.append(finding)

    @property
    def stopping(self) -> tuple[Finding, ...]:
        return self.policy.stopping(tuple(self.findings))

    def state(self, check: CheckName) -> str:
        """Off | not_checked | stopped | warned | passed."""
        if not self.policy.runs(check):
            return "off"
        found = [finding for finding in self.findings if finding.check is check]
        if self.policy.stopping(tuple(found)):
            return "stopped"
        if check in self.not_checked:
            return "not_checked"
        return "warned" if found else "passed"

    def as_dict(self) -> dict[str, Any]:
        kept = self._kept()
        stopping = set(self.stopping)
        return {
            "checks": [self._check(check) for check in CheckName],
            "findings": [{**item.as_dict(), "stops": item in stopping} for item in kept],
            "left_out": self.left_out + len(self.findings) - len(kept),
            "dependencies": [dict(dependency) for dependency in self.dependencies],
            "files": self.files,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }

    def _check(self, check: CheckName) -> dict[str, Any]:
        found = sum(1 for finding in self.findings if finding.check is check)
        rule = self.policy.rules[check]
        said = self.not_checked.get(check) or self.said.get(check, "")
        return {
            "check": str(check),
            "mode": str(rule.mode),
            "from": str(rule.since),
            "state": self.state(check),
            "found": found,
            "said": said,
        }

    def _kept(self) -> list[Finding]:
        """What stops first, then the worst; of each rule no more than a page."""
        stopping = set(self.stopping)
        counts: dict[tuple[CheckName, str], int] = {}
        kept = []
        for finding in sorted(
            self.findings,
            key=lambda finding: (
                finding not in stopping,
                -finding.severity.rank,
                finding.check,
                finding.file,
                finding.line,
            ),
        ):
            counts[finding.check, finding.rule] = counts.get((finding.check, finding.rule), 0) + 1
            if counts[finding.check, finding.rule] <= KEPT_PER_RULE:
                kept.append(finding)
        return kept[:KEPT_FINDINGS]

    def summary(self) -> str:
        """One line for the build's log."""
        parts = []
        for check in CheckName:
            found = sum(1 for finding in self.findings if finding.check is check)
            parts.append(f"{check} {self.state(check)}" + (f" ({found})" if found else ""))
        return "Checks: " + ", ".join(parts)
