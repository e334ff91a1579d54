"""Bandit as a library, over one parsed source. The only place that imports it. `# nosec` counts for nothing here."""

import io
import logging
from functools import lru_cache

from bandit.core import config, meta_ast, metrics, node_visitor, test_set

from mecapy_platform.core.checks.decode import Source
from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.scan.advice import ADVICE, USUAL

logging.disable(logging.ERROR)  # it says on stderr what this platform says in findings


@lru_cache(maxsize=1)
def _tests() -> test_set.BanditTestSet:
    return test_set.BanditTestSet(config.BanditConfig())


def scan_bandit(source: Source) -> list[Finding]:
    """Every issue. What calculations do every day (starting a solver, assert, temporary files) is at most low."""
    counted = metrics.Metrics()
    counted.begin(source.path)
    nosec_lines: dict[int, set[str]] = {}  # none is read: `# nosec` is ignored
    visitor = node_visitor.BanditNodeVisitor(
        source.path, io.BytesIO(source.data), meta_ast.BanditMetaAst(), _tests(), False, nosec_lines, counted
    )
    visitor.process(source.data)
    found = []
    for issue in visitor.tester.results:
        severity = Severity.LOW if issue.test_id in USUAL else _severity(issue.severity)
        advice = ADVICE.get(
            issue.test_id, "See Bandit's page of this rule; write it another way, or leave it when it is meant."
        )
        found.append(
            Finding(CheckName.BANDIT, issue.test_id, severity, source.path, issue.lineno or 0, str(issue.text), advice)
        )
    return found


def _severity(text: str) -> Severity:
    return Severity(text.lower()) if text.lower() in set(Severity) else Severity.LOW
