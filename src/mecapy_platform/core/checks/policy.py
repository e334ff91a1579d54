"""What an organization asks of its packages: each check is off, warns, or is enforced from a severity on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.core.checks.modules import DENIED, LIBRARIES
from mecapy_platform.core.errors import InvalidInputError, Problem


class Mode(StrEnum):
    """`off`: not run. `warn`: shown. `enforce`: findings of the severity `from` and above stop the build."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


class Libraries(StrEnum):
    """Which libraries a package may import: every one that its lock provides, or those on the list alone."""

    LOCKED = "locked"
    LISTED = "listed"


@dataclass(frozen=True)
class Rule:
    mode: Mode
    since: Severity = Severity.HIGH

    def stops(self, finding: Finding) -> bool:
        return self.mode is Mode.ENFORCE and finding.severity.rank >= self.since.rank

    def as_dict(self) -> dict[str, str]:
        return {"mode": str(self.mode), "from": str(self.since)}


@dataclass(frozen=True)
class ImportRules:
    """`denied` modules are findings wherever they are imported; `listed` counts when `libraries` is `listed`."""

    libraries: Libraries = Libraries.LOCKED
    listed: tuple[str, ...] = LIBRARIES
    denied: tuple[str, ...] = DENIED

    def as_dict(self) -> dict[str, Any]:
        return {"libraries": str(self.libraries), "listed": list(self.listed), "denied": list(self.denied)}


DEFAULT_RULES: Mapping[CheckName, Rule] = {
    CheckName.SOURCES: Rule(Mode.ENFORCE),
    CheckName.HOSTILE: Rule(Mode.ENFORCE),
    CheckName.BANDIT: Rule(Mode.WARN),
    CheckName.IMPORTS: Rule(Mode.ENFORCE),
    CheckName.RESTRICTED_PYTHON: Rule(Mode.ENFORCE, Severity.LOW),
    CheckName.SECRETS: Rule(Mode.WARN),
    CheckName.VULNERABILITIES: Rule(Mode.WARN),
    CheckName.LICENCES: Rule(Mode.WARN),
}


@dataclass(frozen=True)
class Policy:
    """The whole policy of one organization."""

    rules: Mapping[CheckName, Rule] = field(default_factory=lambda: dict(DEFAULT_RULES))
    imports: ImportRules = ImportRules()

    def runs(self, check: CheckName) -> bool:
        return self.rules[check].mode is not Mode.OFF

    def stopping(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        return tuple(finding for finding in findings if self.rules[finding.check].stops(finding))

    def as_dict(self) -> dict[str, Any]:
        rules: dict[str, Any] = {str(check): rule.as_dict() for check, rule in self.rules.items()}
        rules[CheckName.IMPORTS] |= self.imports.as_dict()
        return rules


DEFAULT_POLICY = Policy()


def policy_over(policy: Policy, changes: Mapping[str, Any], path: str = "checks") -> Policy:
    """The policy with what `changes` says: `{check: {"mode", "from", ..}}`, or `{check: mode}` in short.

    Raises
    ------
    InvalidInputError
        A name or value that is not known, all of them at once.
    """
    problems: list[Problem] = []
    rules = dict(policy.rules)
    imports = policy.imports
    for name, value in changes.items():
        here = f"{path}.{name[:80]}"
        if name not in set(CheckName):
            problems.append(
                Problem(here, "check_unknown", f"There is no such check; there are {', '.join(CheckName)}.")
            )
            continue
        check = CheckName(name)
        given = {"mode": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping):
            problems.append(
                Problem(here, "check_value", "Write off, warn or enforce, or an object with mode and from.")
            )
            continue
        rules[check] = _rule(rules[check], given, here, problems)
        rest = {key: item for key, item in given.items() if key not in {"mode", "from"}}
        if check is CheckName.IMPORTS:
            imports = _import_rules(imports, rest, here, problems)
        else:
            problems += [Problem(f"{here}.{key[:80]}", "check_value", "A check has mode and from.") for key in rest]
    if problems:
        raise InvalidInputError("checks_invalid", "The policy of checks cannot be read.", problems=problems)
    return Policy(rules, imports)


def _rule(rule: Rule, given: Mapping[str, Any], here: str, problems: list[Problem]) -> Rule:
    mode, since = given.get("mode", rule.mode), given.get("from", rule.since)
    for key, value, kind in (("mode", mode, Mode), ("from", since, Severity)):
        if value not in list(kind):
            problems.append(
                Problem(f"{here}.{key}", "check_value", f"{str(value)[:40]!r} is not one of {', '.join(kind)}.")
            )
            return rule
    return Rule(Mode(mode), Severity(since))


def _import_rules(rules: ImportRules, given: Mapping[str, Any], here: str, problems: list[Problem]) -> ImportRules:
    for key, value in given.items():
        if key == "libraries" and value in list(Libraries):
            rules = replace(rules, libraries=Libraries(value))
        elif key == "listed" and _are_names(value):
            rules = replace(rules, listed=tuple(value))
        elif key == "denied" and _are_names(value):
            rules = replace(rules, denied=tuple(value))
        else:
            message = (
                "imports has mode, from, libraries (locked or listed), and lists of module names `listed` and `denied`."
            )
            problems.append(Problem(f"{here}.{key[:80]}", "check_value", message))
    return rules


def _are_names(value: object) -> bool:
    if not isinstance(value, list) or len(value) > 1000:
        return False
    return all(
        isinstance(item, str) and len(item) <= 200 and all(part.isidentifier() for part in item.split("."))
        for item in value
    )
