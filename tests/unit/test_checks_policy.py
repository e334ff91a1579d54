"""The policy of checks: what holds by default, what an organization may say, what a report makes of findings."""

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.core.checks.policy import DEFAULT_POLICY, Libraries, Mode, policy_over
from mecapy_platform.core.checks.report import KEPT_PER_RULE, Report
from mecapy_platform.core.errors import InvalidInputError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def finding(
    check: CheckName = CheckName.BANDIT, severity: Severity = Severity.HIGH, line: int = 1, rule: str = "B602"
) -> Finding:
    return Finding(check, rule, severity, "main.py", line, "why", "advice")


def test_by_default_what_is_hostile_stops_and_the_rest_is_shown() -> None:
    modes = {check: DEFAULT_POLICY.rules[check].mode for check in CheckName}
    enforced = {check for check, mode in modes.items() if mode is Mode.ENFORCE}
    assert enforced == {CheckName.SOURCES, CheckName.HOSTILE, CheckName.IMPORTS, CheckName.RESTRICTED_PYTHON}
    assert Mode.OFF not in modes.values()


def test_a_mode_alone_keeps_the_severity() -> None:
    policy = policy_over(DEFAULT_POLICY, {"restricted_python": "warn"})
    assert policy.rules[CheckName.RESTRICTED_PYTHON].as_dict() == {"mode": "warn", "from": "low"}


def test_a_severity_alone_keeps_the_mode() -> None:
    policy = policy_over(DEFAULT_POLICY, {"hostile": {"from": "medium"}})
    assert policy.stopping((finding(CheckName.HOSTILE, Severity.MEDIUM),))
    assert not policy.stopping((finding(CheckName.HOSTILE, Severity.LOW),))


def test_later_changes_go_over_earlier_ones() -> None:
    first = policy_over(DEFAULT_POLICY, {"bandit": "enforce", "secrets": "off"})
    second = policy_over(first, {"bandit": "off"})
    assert (second.rules[CheckName.BANDIT].mode, second.rules[CheckName.SECRETS].mode) == (Mode.OFF, Mode.OFF)


def test_imports_take_lists() -> None:
    policy = policy_over(
        DEFAULT_POLICY, {"imports": {"libraries": "listed", "listed": ["numpy"], "denied": ["os.path"]}}
    )
    assert (policy.imports.libraries, policy.imports.listed, policy.imports.denied) == (
        Libraries.LISTED,
        ("numpy",),
        ("os.path",),
    )
    assert policy.as_dict()["imports"]["listed"] == ["numpy"]


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"bandits": "off"}, "checks.bandits", "check_unknown"),
        ({"bandit": "maybe"}, "checks.bandit.mode", "check_value"),
        ({"bandit": {"from": "severe"}}, "checks.bandit.from", "check_value"),
        ({"bandit": 3}, "checks.bandit", "check_value"),
        ({"bandit": {"colour": "red"}}, "checks.bandit.colour", "check_value"),
        ({"imports": {"listed": ["num py"]}}, "checks.imports.listed", "check_value"),
        ({"imports": {"libraries": "all"}}, "checks.imports.libraries", "check_value"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, object], path: str, code: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        policy_over(DEFAULT_POLICY, changes)
    assert (caught.value.code, [(problem.path, problem.code) for problem in caught.value.problems]) == (
        "checks_invalid",
        [(path, code)],
    )


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        policy_over(DEFAULT_POLICY, {"a": 1, "bandit": "x", "secrets": []})
    assert len(caught.value.problems) == 3


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other work on the machine is no fault of ours
@given(st.dictionaries(st.sampled_from([*CheckName, "other"]), JSON))
def test_any_json_is_a_policy_or_an_error(changes: dict[str, object]) -> None:
    try:
        policy = policy_over(DEFAULT_POLICY, changes)
    except InvalidInputError as error:
        named = {problem.path.split(".")[1] for problem in error.problems}
        event("refused")
    else:
        named = set(changes)
        assert policy_over(DEFAULT_POLICY, policy.as_dict()) == policy
    assert named <= {name[:80] for name in changes}


def test_what_was_not_checked_is_never_passed() -> None:
    report = Report(DEFAULT_POLICY)
    report.not_checked[CheckName.VULNERABILITIES] = "not checked: nobody answered"
    states = {check["check"]: (check["state"], check["said"]) for check in report.as_dict()["checks"]}
    assert states["vulnerabilities"] == ("not_checked", "not checked: nobody answered")
    assert states["bandit"] == ("passed", "")


def test_a_report_names_what_stops_first_and_counts_the_rest() -> None:
    report = Report(policy_over(DEFAULT_POLICY, {"bandit": "warn"}))
    report.add([finding(line=number, severity=Severity.LOW, rule="B101") for number in range(100)])
    report.add([finding(CheckName.HOSTILE, rule="miner")])
    told = report.as_dict()
    assert (told["findings"][0]["rule"], told["findings"][0]["stops"]) == ("miner", True)
    assert (len(told["findings"]), told["left_out"]) == (1 + KEPT_PER_RULE, 100 - KEPT_PER_RULE)
    assert {check["check"]: check["state"] for check in told["checks"]}["hostile"] == "stopped"
    assert "hostile stopped (1)" in report.summary()


def test_findings_of_a_check_that_is_off_are_dropped() -> None:
    report = Report(policy_over(DEFAULT_POLICY, {"bandit": "off"}))
    report.add([finding()])
    assert report.as_dict()["findings"] == []


@given(JSON)
def test_a_finding_read_from_a_liar_is_a_finding_or_an_error(told: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Finding.from_json(told)


def test_a_finding_survives_its_own_form() -> None:
    assert Finding.from_json(finding().as_dict()) == finding()
    assert len(Finding.from_json({**finding().as_dict(), "why": "x" * 10_000}).why) == 400
