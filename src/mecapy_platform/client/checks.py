"""Checks: an organization's policy, a version's report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from mecapy_platform.client.records import build
from mecapy_platform.client.transport import Call, Transport


@dataclass(frozen=True)
class Finding:
    """One finding of a check, with what to do; `stops`: the policy enforced it."""

    check: str
    rule: str
    severity: str
    file: str
    line: int
    why: str = ""
    advice: str = ""
    stops: bool = False

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class CheckState:
    """One check: its mode, and passed, warned, stopped, not_checked or off."""

    check: str
    mode: str
    state: str
    found: int = 0
    said: str = ""


@dataclass(frozen=True)
class ChecksReport:
    """What the checks found in a version."""

    version: str = ""
    status: str = ""
    checks: tuple[CheckState, ...] = ()
    findings: tuple[Finding, ...] = ()
    left_out: int = 0
    dependencies: tuple[Mapping[str, str], ...] = ()
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(
            cls,
            data,
            checks=tuple(build(CheckState, item) for item in data.get("checks") or ()),
            findings=tuple(build(Finding, item) for item in data.get("findings") or ()),
            dependencies=tuple(data.get("dependencies") or ()),
            raw=data,
        )


class Checks:
    """Calls about checks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def policy(self, organization: str) -> Mapping[str, Any]:
        """`{"organization", "checks", "changes"}`."""
        return self._transport.get(f"/organizations/{organization}/checks")

    def change(self, organization: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace what the organization says of its policy; administrators only."""
        answer: Mapping[str, Any] = self._transport.json(
            Call("PUT", f"/organizations/{organization}/checks", json={"checks": dict(changes)})
        )
        return answer

    def report(self, package_id: str, version: str) -> ChecksReport:
        return ChecksReport.from_json(self._transport.get(f"/packages/{package_id}/versions/{version}/checks"))
