"""Checks one version before it may run.

Sources in a sandbox, imports by what they resolve to, requirements by what is known of them.
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.core.checks.imports import Import, Origin, Resolved, judge_imports, judge_loaded, judge_shadows
from mecapy_platform.core.checks.modules import FORMULA
from mecapy_platform.core.checks.policy import Libraries, Policy
from mecapy_platform.core.checks.report import Report
from mecapy_platform.core.errors import InvalidInputError, MalformedError, Problem, TooLargeError
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.sandbox.base import Environment, Limits, Mode
from mecapy_platform.services.build_plan import BuildPlan
from mecapy_platform.worker.asking import Question, ask_sandbox
from mecapy_platform.worker.checks.audit import Audited, Auditor
from mecapy_platform.worker.checks.tools import ensure_scanner
from mecapy_platform.worker.context import WorkerContext

OLDEST_SCANNER = (3, 11)
SCANNED = (
    CheckName.SOURCES,
    CheckName.HOSTILE,
    CheckName.BANDIT,
    CheckName.IMPORTS,
    CheckName.RESTRICTED_PYTHON,
    CheckName.SECRETS,
)
OF_AN_ENVIRONMENT = (CheckName.IMPORTS, CheckName.RESTRICTED_PYTHON, CheckName.VULNERABILITIES, CheckName.LICENCES)
NAMED_PROBLEMS = 50
TOLD_BYTES = 4 << 20
# No answer, or one that is none: of another shape, or refused by the reader
UNREADABLE = (
    InvalidInputError,
    MalformedError,
    TooLargeError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
)


@dataclass
class Review:
    """The checks of one build, step by step. `report` holds what is known so far, also when a step raises."""

    context: WorkerContext
    plan: BuildPlan
    package: Path
    report: Report
    imports: tuple[Import, ...] = ()

    def sources(self, interpreter: Interpreter) -> None:
        """Static checks over every file, in a sandbox of their own.

        What stops a version stops it here, before anything of it runs.
        """
        wanted = [str(check) for check in SCANNED if self.report.policy.runs(check)]
        if not wanted:
            return
        with self._timed("sources"):
            self._scan(interpreter, wanted)
        self.stop_if_found()

    def sources_of_image(self) -> None:
        """The same for a version that brings an image: its Python is not known, nor what else lies in it."""
        said = "not checked: an image brings an environment of its own, which is not looked into"
        self.report.not_checked |= {check: said for check in OF_AN_ENVIRONMENT if self.report.policy.runs(check)}
        if not self.context.interpreters:
            none = "not checked: this worker has no interpreter for the scan"
            self.report.not_checked |= {check: none for check in SCANNED if check not in self.report.not_checked}
            return
        self.sources(max(self.context.interpreters.values(), key=_minor))

    def environment(self, environment: Environment, audited: "Future[Audited] | None") -> None:
        """What imports resolve to, the licences of what is installed, and what is known of it."""
        with self._timed("imports"):
            self._resolve(environment)
        if audited is not None:
            with self._timed("waiting_for_audit"):
                self._take_audit(self._awaited(audited))
        self.stop_if_found()

    def loaded(self, told: object) -> None:
        """What importing the handlers really loaded, as the sandbox told it.

        Tenants' code was there and may have lied.
        """
        if not self.report.policy.runs(CheckName.IMPORTS) or not isinstance(told, Mapping):
            return
        read = {
            str(name): [str(item) for item in where]
            for name, where in told.items()
            if isinstance(where, list) and len(where) == 4
        }
        known = {(finding.rule, finding.why) for finding in self.report.findings}
        found = judge_loaded(read, denied=self.report.policy.imports.denied)
        self.report.add([item for item in found if (item.rule, item.why) not in known])
        self.stop_if_found()

    def stop_if_found(self) -> None:
        """Raise for findings that the policy enforces.

        Raises
        ------
        InvalidInputError
            `checks_failed`, each finding a problem with its file and line.
        """
        stopping = self.report.stopping
        if not stopping:
            return
        problems = [
            Problem(f"{item.file}:{item.line}", item.rule, f"{item.why} {item.advice}")
            for item in stopping[:NAMED_PROBLEMS]
        ]
        more = len(stopping) - NAMED_PROBLEMS
        checks = ", ".join(sorted({str(item.check) for item in stopping}))
        more_said = f" ({more} more are in the report)" if more > 0 else ""
        message = f"{len(stopping)} findings of the checks {checks} stop this version{more_said}."
        raise InvalidInputError("checks_failed", message, problems=problems)

    def _scan(self, interpreter: Interpreter, wanted: list[str]) -> None:
        context, settings = self.context, self.context.settings
        scanner = self._scanner_interpreter(interpreter)
        tools = ensure_scanner(context.cache_dir, scanner)
        body = {
            "checks": wanted,
            "seconds": settings.scan_seconds,
            "restricted": self._restricted_files(),
            "formula": FORMULA,
        }
        limits = Limits(1, settings.scan_memory_mb, settings.scan_seconds + 20, 64 << 20, processes=64)
        answer = ask_sandbox(
            context, self.plan, Question(body, limits, Mode.SCAN), self.package, Environment(scanner.executable, tools)
        )
        found = self.read_scan(answer.collected.result)
        if found is None:
            how = answer.ended.detail or answer.ended.reason
            why = f"The scan of the sources ended without a result ({how}). {answer.heard[-300:]}".strip()
            advice = "Deploy again; when it stays, ask the operator, or leave out the file that is large or strange."
            self.report.add([Finding(CheckName.SOURCES, "scan_ended", Severity.HIGH, "", 0, why, advice)])

    def read_scan(self, result: bytes | None) -> bool | None:
        """Take what the scan of the sources said into the report. None: it said nothing that can be read."""
        try:
            told = self._told(result)
            findings = [Finding.from_json(finding) for finding in told["findings"]]
            imports = tuple(Import(str(item[0]), str(item[1]), int(item[2]), bool(item[3])) for item in told["imports"])
            self.report.files, self.report.left_out = int(told["files"]), int(told["left_out"])
        except UNREADABLE:
            return None
        self.report.add(findings)
        self.imports = imports
        return True

    def _told(self, result: bytes | None) -> dict[str, Any]:
        """What a check said: read as results are, for tenants' sources or their environment were there first."""
        return self.context.judge.outputs({}, result or b"", TOLD_BYTES, units=UnitSystem.SI).read()

    def _scanner_interpreter(self, interpreter: Interpreter) -> Interpreter:
        """The version's own, so that its syntax is read; a newer one where the scanner does not run on it."""
        if _minor(interpreter) >= OLDEST_SCANNER:
            return interpreter
        newer = [item for item in self.context.interpreters.values() if _minor(item) >= OLDEST_SCANNER]
        return min(newer, key=_minor) if newer else interpreter

    def _restricted_files(self) -> list[str]:
        """The files of handlers that live under RestrictedPython."""
        wanted = {
            function.handler.partition(":")[0]
            for function in self.plan.functions
            if function.handler and function.options.get("checks", {}).get("restricted_python")
        }
        return sorted(f"{module.replace('.', '/')}.py" for module in wanted)

    def _resolve(self, environment: Environment) -> None:
        policy = self.report.policy
        if not policy.runs(CheckName.IMPORTS) and not policy.runs(CheckName.LICENCES):
            return
        names = sorted({item.module.partition(".")[0] for item in self.imports})
        limits = Limits(1, 512, 30, 16 << 20, processes=16)
        answer = ask_sandbox(
            self.context, self.plan, Question({"names": names}, limits, Mode.IMPORTS), self.package, environment
        )
        try:
            told = self._told(answer.collected.result)
            resolved = {
                name: Resolved(Origin(item[0]), str(item[1]), str(item[2]), str(item[3]))
                for name, item in told["names"].items()
            }
            dependencies = [
                {key: str(distribution[key])[:200] for key in ("name", "version", "licence")}
                for distribution in told["distributions"]
            ]
        except UNREADABLE:
            self.report.not_checked[CheckName.IMPORTS] = f"not checked: {answer.ended.detail or answer.ended.reason}"
            return
        self.report.dependencies = dependencies
        self._licences(dependencies)
        listed = policy.imports.listed if policy.imports.libraries is Libraries.LISTED else None
        self.report.add(
            [
                *judge_imports(self.imports, resolved, denied=policy.imports.denied, listed=listed),
                *judge_shadows(resolved),
            ]
        )

    def _licences(self, dependencies: list[dict[str, str]]) -> None:
        own = (self.plan.manifest.get("package") or {}).get("license") or "none declared"
        self.report.said[CheckName.LICENCES] = f"the package: {own}; {len(dependencies)} dependencies"
        for dependency in dependencies:
            if not dependency["licence"]:
                why = f"{dependency['name']} {dependency['version']} names no licence in its metadata."
                advice = "Look it up at the project before you pass results on."
                self.report.add(
                    [Finding(CheckName.LICENCES, "licence_unknown", Severity.LOW, "requirements.txt", 0, why, advice)]
                )

    def _awaited(self, audited: "Future[Audited]") -> Audited:
        seconds = self.context.settings.audit_wait_seconds
        try:
            return audited.result(seconds)
        except TimeoutError:
            said = f"not checked: the service had not answered {seconds:g} s after everything else was ready"
            return Audited((), is_checked=False, said=said)

    def _take_audit(self, audited: Audited) -> None:
        self.report.add(audited.findings)
        self.report.said[CheckName.VULNERABILITIES] = audited.said
        if not audited.is_checked:
            self.report.not_checked[CheckName.VULNERABILITIES] = audited.said

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.report.seconds[step] = time.monotonic() - started


def start_audit(context: WorkerContext, policy: Policy, lock: str | None) -> "Future[Audited] | None":
    """Ask beside the installation of the requirements, which takes longer."""
    if not policy.runs(CheckName.VULNERABILITIES):
        return None
    settings = context.settings
    auditor = Auditor(
        context.cache_dir / "audit", settings.audit_seconds, settings.audit_service, settings.audit_database
    )
    pool = ThreadPoolExecutor(1, thread_name_prefix="audit")
    try:
        return pool.submit(auditor.audit, lock)
    finally:
        pool.shutdown(wait=False)


def _minor(interpreter: Interpreter) -> tuple[int, int]:
    major, minor = interpreter.minor.split(".")[:2]
    return int(major), int(minor)
