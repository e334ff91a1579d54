"""Reviews a package as a build does, in a real sandbox, without a database or an index."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.checks.report import Report
from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.embedded import interpreters, programs
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.sandbox.base import Environment, Sandbox
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.services.build_plan import BuildPlan, PlannedFunction
from mecapy_platform.services.checks import effective
from mecapy_platform.services.claims import Worker
from mecapy_platform.settings import Settings
from mecapy_platform.storage.filesystem import FilesystemStorage
from mecapy_platform.worker.asking import Question, ask_sandbox
from mecapy_platform.worker.build_package import DESCRIBE_LIMITS
from mecapy_platform.worker.checks.review import Review, start_audit
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.fetch_process import FetchLimits
from mecapy_platform.worker.fetcher import make_fetcher
from mecapy_platform.worker.judging import Judge

VERSION_ID = UUID("0190f000-0000-7000-8000-000000000001")


def plan_of(manifest: Mapping[str, Any], *functions: PlannedFunction, **columns: Any) -> BuildPlan:
    """Of a version that stands in no database."""
    usual = {"archive_key": "k", "archive_sha256": "0" * 64, "runtime": "3.11"}
    return BuildPlan(
        token=uuid4(), version_id=VERSION_ID, organization_id=uuid4(), manifest=manifest, functions=functions,
        **{**usual, **columns},
    )  # fmt: skip


@dataclass(frozen=True)
class Reviewed:
    """`stopped`: the sentence and problems of the refusal, None when the version passes."""

    report: Report
    stopped: InvalidInputError | None

    @property
    def rules(self) -> set[str]:
        return {finding.rule for finding in self.report.findings}

    @property
    def stopping_rules(self) -> set[str]:
        return {finding.rule for finding in self.report.stopping}


@dataclass(frozen=True)
class Reviewer:
    context: WorkerContext
    interpreter: Interpreter

    def review(
        self,
        package: Path,
        *,
        handlers: Mapping[str, str] | None = None,
        checks: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        site_packages: Path | None = None,
        lock: str | None = None,
    ) -> Reviewed:
        """Sources, environment, then an import of `handlers`, as worker/build_package does it."""
        functions = tuple(
            PlannedFunction(name, handler, options=dict(options or {})) for name, handler in (handlers or {}).items()
        )
        plan = plan_of({"package": {"license": "MIT"}}, *functions, checks=checks or {})
        report = Report(effective(self.context.settings.checks, plan.checks))
        review = Review(self.context, plan, package, report)
        environment = Environment(self.interpreter.executable, site_packages)
        try:
            review.sources(self.interpreter)
            review.environment(environment, start_audit(self.context, report.policy, lock))
            if handlers:
                answer = ask_sandbox(
                    self.context, plan, Question(dict(handlers), DESCRIBE_LIMITS), package, environment
                )
                review.loaded(_loaded(answer.collected.result))
        except InvalidInputError as error:
            return Reviewed(report, error)
        return Reviewed(report, None)

    def bare_review(self) -> Review:
        """Of a version without files: for what a check could answer."""
        return Review(self.context, plan_of({}), Path("/"), Report(effective(self.context.settings.checks, {})))


def _loaded(result: bytes | None) -> object:
    import json

    return None if result is None else json.loads(result).get("")


@contextmanager
def reviewer(
    directory: Path, sandbox: Sandbox | None = None, judge: Judge | None = None, **settings: object
) -> Iterator[Reviewer]:
    """`settings` change the platform's."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    work, cache = directory / "work", directory / "cache"
    for folder in (work, cache):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
    defaults: dict[str, object] = {"data_dir": directory, "audit_service": False}
    chosen = Settings.model_validate({**Settings().model_dump(), **defaults, **settings})
    found = interpreters.find()
    own = BubblewrapSandbox() if sandbox is None else None
    database = Database(make_engine(chosen.database_url))
    try:
        yield Reviewer(
            WorkerContext(
                settings=chosen,
                database=database,
                storage=FilesystemStorage(directory / "storage", base_url="", secret="x"),
                sandbox=sandbox or own,  # type: ignore[arg-type]  # one of the two is there
                send=lambda _lanes: None,
                worker=Worker("here", "here-1", "bubblewrap"),
                work_dir=work,
                cache_dir=cache,
                interpreters=found,
                fetcher=make_fetcher(
                    cache / "uv", chosen.package_index_url, FetchLimits(60, 1 << 30, may_be_root=True), programs.bwrap()
                ),
                judge=judge or Judge(Bounds(30.0, 1 << 30)),
            ),
            max(found.values(), key=lambda item: tuple(map(int, item.minor.split(".")))),
        )
    finally:
        database.dispose()
        if own is not None:
            own.close()


def write_package(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """A package folder as an extracted archive: world-readable."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder
