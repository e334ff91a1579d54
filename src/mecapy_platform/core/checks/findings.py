"""What a check finds, in one shape for every check. Standard library alone: it also runs inside the sandbox."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

TEXT_LENGTH = 400


class CheckName(StrEnum):
    """The checks of a deployed version; docs/reference/checks.md explains each."""

    SOURCES = "sources"
    HOSTILE = "hostile"
    BANDIT = "bandit"
    IMPORTS = "imports"
    RESTRICTED_PYTHON = "restricted_python"
    SECRETS = "secrets"
    VULNERABILITIES = "vulnerabilities"
    LICENCES = "licences"


class Severity(StrEnum):
    """How bad a finding is; `rank` orders them."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        return (Severity.LOW, Severity.MEDIUM, Severity.HIGH).index(self)


@dataclass(frozen=True)
class Finding:
    """One thing found: where, by which rule, why it matters, what to do. `line` 0 means the whole file."""

    check: CheckName
    rule: str
    severity: Severity
    file: str
    line: int
    why: str
    advice: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read one back from a process that may lie: wrong shapes are ValueError, long texts are cut."""
        if not isinstance(data, Mapping) or not isinstance(data.get("line"), int) or isinstance(data.get("line"), bool):
            raise ValueError("a finding is an object with a line")  # noqa: TRY004 - as below
        texts = {name: _text(data.get(name)) for name in ("rule", "file", "why", "advice")}
        check, severity = CheckName(str(data.get("check"))), Severity(str(data.get("severity")))
        return cls(check=check, severity=severity, line=max(0, min(int(data["line"]), 1 << 31)), **texts)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a finding is made of texts")  # noqa: TRY004 - one kind of error for a shape that is wrong
    return value[:TEXT_LENGTH]
