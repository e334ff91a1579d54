"""Builds one deployed version: environment, ports from signatures, test cases.

Tenants' code runs only in the sandbox.
"""

import logging
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard
from uuid import uuid4

from mecapy_platform.core.checks.report import Report
from mecapy_platform.core.errors import (
    InvalidInputError,
    MalformedError,
    MecapyError,
    OutageError,
    Problem,
    SandboxError,
    StorageFullError,
    TooLargeError,
    UnavailableError,
)
from mecapy_platform.core.living import LivingThread
from mecapy_platform.core.manifest import ports_from_signature
from mecapy_platform.core.placement import Place
from mecapy_platform.core.requirements import read_requirements
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.sandbox.base import Environment, Limits
from mecapy_platform.services import builds
from mecapy_platform.services.build_plan import BuildPlan
from mecapy_platform.services.builds import Built, Ports
from mecapy_platform.services.checks import effective
from mecapy_platform.services.release import release
from mecapy_platform.worker.abilities import abilities_of
from mecapy_platform.worker.asking import Question, ask_sandbox
from mecapy_platform.worker.budget import Budget
from mecapy_platform.worker.build_image import make_image
from mecapy_platform.worker.build_room import memory_of, take_room, take_room_for_testcases
from mecapy_platform.worker.bytecode import ensure_bytecode
from mecapy_platform.worker.checks.review import Review, start_audit
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.environments import digest_of, install
from mecapy_platform.worker.ignored_options import ignored_options
from mecapy_platform.worker.interpreters import choose
from mecapy_platform.worker.judging import Judge
from mecapy_platform.worker.packages import ensure_package
from mecapy_platform.worker.testcases import Bench, run_testcases

log = logging.getLogger(__name__)
MAX_SIGNATURE_BYTES = 4 << 20
PACKAGE_FAULTS = (InvalidInputError, MalformedError, TooLargeError)  # all others are the platform's or the machine's
LACKED_BY_ALL = "interpreter_missing"
AGAIN_SECONDS = 5.0
FIRST_ROOM_SECONDS = 60.0  # then another node may have the build
DESCRIBE_LIMITS = Limits(cpu=1, memory_mb=1024, timeout_seconds=60, disk_bytes=64 << 20)


@dataclass
class BuildLog:
    """What the deployer reads when a build fails, or wonders what it did."""

    lines: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)  # of checks and test cases, also where the build fails

    def say(self, line: str) -> None:
        self.lines.append(line)

    def text(self) -> str:
        return "\n".join(self.lines)


def build_next(context: WorkerContext) -> bool:
    """Claim and build one version; False when none waits."""
    with context.database.transaction() as session:
        plan = builds.claim_build(
            session, context.settings.queue_rules, Place(0.0, 0, frozenset(abilities_of(context)))
        )
    if plan is None:
        return False
    keeper = _LeaseKeeper(context, plan)
    keeper.start()
    said = BuildLog()
    try:
        take_room(context, plan, memory_of(context, plan), FIRST_ROOM_SECONDS)
        built = _build(context, plan, said)
    except (MecapyError, OSError) as error:
        if not _is_verdict(error):
            _try_again(context, plan, said, error)
            return True
        said.say(error.message)
        for problem in error.problems:
            said.say(f"  {problem.path}: {problem.message}")
        built = Built(log=said.text(), report=said.report, error_code=error.code, error_message=error.sentence())
    finally:
        keeper.end()
    try:
        with context.database.transaction() as session:
            builds.finish_build(session, plan.token, built, context.values)
    except (UnavailableError, StorageFullError, OSError) as error:  # inputs of tasks that waited for it cannot be had
        _try_again(context, plan, said, error)
        return True
    release(context.database, context.send)
    return True


def _is_verdict(error: MecapyError | OSError) -> TypeGuard[MecapyError]:
    """The package's own fault; or nobody has its interpreter, else the build would have been left to that worker."""
    return isinstance(error, PACKAGE_FAULTS) or (isinstance(error, MecapyError) and error.code == LACKED_BY_ALL)


def _try_again(context: WorkerContext, plan: BuildPlan, said: BuildLog, error: MecapyError | OSError) -> None:
    """The machine's fault, or that of a service which it needs, is no verdict on the package."""
    code = error.code if isinstance(error, MecapyError) else "platform_error"
    said.say(f"Not built yet ({code}), it is tried again: {error}")
    log.warning("build of %s is tried again: %s", plan.version_id, error)
    has_begun = isinstance(error, SandboxError) and not isinstance(error, OutageError)
    with context.database.transaction() as session:
        builds.give_back(session, plan.token, AGAIN_SECONDS, is_counted=has_begun, log=said.text())


def _build(context: WorkerContext, plan: BuildPlan, said: BuildLog) -> Built:
    package = ensure_package(context, plan.archive_key, plan.archive_sha256)
    for sentence in ignored_options(plan.manifest, context.sandboxes(), is_image=plan.is_image):
        said.say(sentence)
    if plan.is_image:
        return _build_image(context, plan, package, said)
    budget = Budget.start(context.settings.build_timeout_seconds)
    interpreter = choose(context.interpreters, plan.runtime, allow_newer=context.settings.allow_newer_python)
    said.say(
        f"Python {interpreter.version}" + ("" if interpreter.minor == plan.runtime else f" in place of {plan.runtime}")
    )
    with _reviewed(context, plan, package, said) as review:
        review.sources(interpreter)
        ensure_bytecode(context.compiler, package, plan.archive_sha256, interpreter.executable)
        with _within(budget):
            lock = _lock(context, plan.manifest, package, interpreter, budget)
        audited = start_audit(context, review.report.policy, lock)
        with _within(budget):
            digest, environment = _installed(context, lock, interpreter, said, budget)
        review.environment(environment, audited)
        ports = _ports(context, plan, package, environment, said, review)
    seconds = budget.left_seconds()  # without the time in which it waits for memory
    said.report |= _testcases(Bench(context, plan, package, environment, ports, seconds=seconds), said)
    return Built(
        log=said.text(),
        interpreter=interpreter.version,
        environment_digest=digest,
        requirements_lock=lock,
        ports=ports,
        report=said.report,
    )


def _build_image(context: WorkerContext, plan: BuildPlan, package: Path, said: BuildLog) -> Built:
    """Modes B and C: ports are declared, so none is read from code.

    What the archive holds is checked, what the image holds is not.
    """
    with _reviewed(context, plan, package, said) as review:
        review.sources_of_image()
    image = make_image(context, plan, package, said.say)
    said.report |= _testcases(Bench(context, plan, package, None, {}, image), said)
    return Built(log=said.text(), environment_digest=image, report=said.report)


@contextmanager
def _reviewed(context: WorkerContext, plan: BuildPlan, package: Path, said: BuildLog) -> Iterator[Review]:
    """A review whose report is kept, however the block ends."""
    review = Review(context, plan, package, Report(effective(context.settings.checks, plan.checks)))
    try:
        yield review
    finally:
        said.report["checks"] = review.report.as_dict()
        said.say(review.report.summary())


@contextmanager
def _within(budget: Budget) -> Iterator[None]:
    """Fetching that outlives the build's time ends the build: tried again, it would only hold a builder up again."""
    try:
        yield
    except UnavailableError as error:
        if error.code != "build_timeout":
            raise
        raise budget.used_up() from error


def _content(package: Path, name: str) -> bytes | None:
    """A file of the unpacked package, which holds no links."""
    path = package / name
    return path.read_bytes() if path.is_file() else None


def _lock(
    context: WorkerContext, manifest: Mapping[str, Any], package: Path, interpreter: Interpreter, budget: Budget
) -> str | None:
    if not manifest["runtime"].get("requirements"):
        return None
    wanted = read_requirements(lambda name: _content(package, name))
    staging = context.work_dir / f"lock-{uuid4()}"
    staging.mkdir(parents=True)
    try:
        return context.fetcher.lock(wanted, interpreter, staging, budget.at_most(budget.seconds))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _installed(
    context: WorkerContext, lock: str | None, interpreter: Interpreter, said: BuildLog, budget: Budget
) -> tuple[str | None, Environment]:
    if lock is None:
        return None, Environment(interpreter.executable)
    digest = digest_of(interpreter, lock)
    target = context.cache_dir / "environments" / digest
    if not target.is_dir():
        install(context, interpreter, lock, target, budget.at_most(budget.seconds))
    said.say(
        "Requirements: " + ", ".join(line.split(" ")[0] for line in lock.splitlines() if line and line[0].isalnum())
    )
    return digest, Environment(interpreter.executable, target / "site-packages")


def _ports(
    context: WorkerContext, plan: BuildPlan, package: Path, environment: Environment, said: BuildLog, review: Review
) -> dict[str, Ports]:
    """Read handlers where the manifest leaves ports out.

    Import every handler in any case, so that a broken one shows now.
    """
    handlers = {function.name: function.handler for function in plan.functions if function.handler}
    if not handlers:
        return {}
    described, loaded = _describe(context, plan, handlers, package, environment)
    review.loaded(loaded)
    problems = [
        Problem(f"functions.{name}.handler", "handler_broken", str(found["error"]))
        for name, found in described.items()
        if found.get("error")
    ]
    found = _signature_ports(plan, described, problems)
    if any(problem.code == "handler_broken" for problem in problems):
        raise InvalidInputError("handler_broken", "A handler cannot be imported.", problems=problems)
    if problems:
        message = "The signatures of some handlers cannot be read as ports."
        raise InvalidInputError("signature_invalid", message, problems=problems)
    for name, ports in found.items():
        said.say(
            f"{name}: ports read from its signature: {', '.join(ports.inputs) or 'none'} -> "
            f"{', '.join(ports.outputs) or 'none'}"
        )
    return found


def _signature_ports(
    plan: BuildPlan, described: Mapping[str, Mapping[str, Any]], problems: list[Problem]
) -> dict[str, Ports]:
    """The ports that the manifest leaves out; every problem of every function goes to `problems`."""
    ports: dict[str, Ports] = {}
    for function in plan.functions:
        has_inputs, has_outputs = function.inputs is not None, function.outputs is not None
        if (has_inputs and has_outputs) or described[function.name].get("error"):
            continue
        try:
            read = ports_from_signature(
                described[function.name], wants_inputs=not has_inputs, wants_outputs=not has_outputs
            )
        except InvalidInputError as error:
            problems += [
                replace(problem, path=f"functions.{function.name}.{problem.path}") for problem in error.problems
            ]
            continue
        inputs = read.inputs if function.inputs is None else function.inputs
        outputs = read.outputs if function.outputs is None else function.outputs
        ports[function.name] = Ports(inputs, outputs, read.free_inputs and function.inputs is None)
    return ports


def _describe(
    context: WorkerContext, plan: BuildPlan, handlers: Mapping[str, str | None], package: Path, environment: Environment
) -> tuple[dict[str, dict[str, Any]], object]:
    """The signatures, and what importing the handlers loaded."""
    answer = ask_sandbox(context, plan, Question(handlers, DESCRIBE_LIMITS), package, environment)
    collected, ended, heard = answer.collected, answer.ended, answer.heard
    if collected.result is None:
        why = collected.error.get("error") if collected.error else heard[-2000:]
        raise InvalidInputError(
            "handler_broken", f"Importing the handlers failed ({ended.detail or ended.reason}). {why}".strip()
        )
    return _signatures(context.judge, collected.result, handlers)


def _signatures(
    judge: Judge, text: bytes, handlers: Mapping[str, str | None]
) -> tuple[dict[str, dict[str, Any]], object]:
    """What the sandbox said of each handler. Tenants' code was there first: it may have written anything."""
    try:
        found = judge.outputs({}, text, MAX_SIGNATURE_BYTES, units=UnitSystem.SI).read()
    except (InvalidInputError, MalformedError, TooLargeError) as error:
        raise InvalidInputError(
            "handler_broken", f"The description of the handlers cannot be read. {error.sentence()}"
        ) from error
    loaded = found.pop("", None)
    if set(found) != set(handlers) or not all(isinstance(item, dict) for item in found.values()):
        raise InvalidInputError(
            "handler_broken",
            "Importing the module wrote out/data.json itself; a module must only define its functions when it is "
            "imported.",
        )
    return found, loaded


def _testcases(bench: Bench, said: BuildLog) -> dict[str, Any]:
    quality = bench.plan.manifest.get("quality", {}).get("validation_testcases", {})
    if not quality.get("on_deployment", True):
        return {}
    take_room_for_testcases(bench.context, bench.plan)
    report = run_testcases(bench)
    for case in report["cases"]:
        said.say(
            f"{case['function']} / {case['name']}: "
            f"{'passed' if case['passed'] else 'failed: ' + '; '.join(case['differences'])}"
        )
    if report["failed"] and quality.get("fail_on_error", False):
        raise InvalidInputError(
            "testcases_failed",
            f"{report['failed']} of {len(report['cases'])} test cases failed, and the manifest asks to stop then.",
        )
    return {"validation_testcases": report}


class _LeaseKeeper(LivingThread):
    """Renews the build's lease while it works."""

    def __init__(self, context: WorkerContext, plan: BuildPlan) -> None:
        super().__init__("build-lease", self._keep)
        self._context, self._plan = context, plan
        self._ended = threading.Event()

    def _keep(self) -> None:
        while not self._ended.wait(self._context.settings.heartbeat_seconds):
            try:
                with self._context.database.transaction() as session:
                    builds.renew_build(session, self._plan.token, self._context.settings.queue_rules)
            except DatabaseError as error:
                log.warning("build lease not renewed: %s", error.detail)

    def end(self) -> None:
        self._ended.set()
        self.hurry()
