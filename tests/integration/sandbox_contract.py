"""What every backend of the sandbox does.

A backend is done when a subclass of these classes passes with its fixtures.
"""

import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from integration.handler_contract import ChildContract, ForkContract, ValueContract
from mecapy_platform.sandbox.base import (
    Collected,
    Ended,
    EndReason,
    Environment,
    Limits,
    LogChunk,
    Mode,
    ProgressLine,
    Run,
    Sandbox,
    SandboxSpec,
    StopReason,
    Tick,
)

PACKAGE = Path(__file__).parent / "sandbox_package"
LIMITS = Limits(
    cpu=1, memory_mb=256, timeout_seconds=30, disk_bytes=32 << 20, disk_files=500, processes=64, grace_seconds=1.0
)


@contextmanager
def package_folder() -> Iterator[Path]:
    """A folder that every user may pass through, with the package of handlers in it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        shutil.copytree(PACKAGE, folder / "package", ignore=shutil.ignore_patterns("__pycache__"))
        yield folder


@contextmanager
def bench_for(sandbox: Sandbox, interpreter: Path = Path(sys.executable)) -> "Iterator[Bench]":
    with package_folder() as folder:
        yield Bench(sandbox, folder, interpreter.resolve())


@dataclass
class Outcome:
    ended: Ended
    collected: Collected
    contents: dict[str, bytes]
    progress: list[dict[str, object]] = field(default_factory=list)
    chunks: list[LogChunk] = field(default_factory=list)

    def text(self, stream: str) -> str:
        return "".join(chunk.text for chunk in self.chunks if chunk.stream == stream)

    @property
    def result(self) -> Any:
        assert self.collected.result is not None, (self.ended, self.collected, self.text("stderr"))
        return json.loads(self.collected.result)

    @property
    def error(self) -> str:
        assert self.collected.error is not None, (self.ended, self.text("stderr"))
        return str(self.collected.error["error"])


@dataclass
class Bench:
    """Starts handlers of tests/integration/sandbox_package in the backend under test."""

    sandbox: Sandbox
    folder: Path
    interpreter: Path
    count: int = 0

    def spec(self, function: str, inputs: Mapping[str, object] | None = None, **options: Any) -> SandboxSpec:
        self.count += 1
        folder = self.folder / f"in-{self.count}"
        (folder / "files").mkdir(parents=True)
        (folder / "data.json").write_text(json.dumps(inputs or {}))
        for name, content in options.pop("files", {}).items():
            (folder / "files" / name).write_bytes(content)
        environment = Environment(options.pop("interpreter", self.interpreter), options.pop("site_packages", None))
        limits = replace(LIMITS, **options)
        handler = function if ":" in function else f"cases:{function}"
        return SandboxSpec("task", 1, self.package, folder, limits, environment, handler)

    @property
    def package(self) -> Path:
        return self.folder / "package"

    def run(self, function: str, inputs: Mapping[str, object] | None = None, **options: Any) -> Outcome:
        with self.sandbox.start(self.spec(function, inputs, **options)) as run:
            return follow(run)


def follow(run: Run, on_event: Callable[[LogChunk | ProgressLine | Tick], None] = lambda _event: None) -> Outcome:
    chunks, progress = [], []
    for event in run.events(0.05):
        on_event(event)
        if isinstance(event, LogChunk):
            chunks.append(event)
        elif isinstance(event, ProgressLine):
            progress.append(event.record)
    collected = run.collect()
    contents = {}
    for file in collected.files:
        with run.open_output(file) as source:
            contents[file.name] = source.read()
    return Outcome(run.ended(), collected, contents, progress, chunks)


class SandboxContract(ForkContract, ValueContract):
    """The runtime contract: results, files, logs, progress, ends, stops."""

    def test_a_result_comes_back(self, bench: Bench) -> None:
        outcome = bench.run("double", {"value": 21})
        assert outcome.result == {"result": 42}
        assert outcome.ended.reason is EndReason.EXITED
        assert outcome.ended.exit_code == 0
        assert outcome.ended.usage.wall_seconds > 0

    def test_files_go_in_as_paths_and_out_as_named(self, bench: Bench) -> None:
        outcome = bench.run("copy_file", {"scale": 2}, files={"mesh.step": b"abc"})
        assert outcome.contents == {"copy.step": b"abcabc", "returned.txt": b"via path", "deep/log.txt": b"kept"}
        assert {file.name: file.kind for file in outcome.collected.files}["deep/log.txt"] == "artifact"
        assert outcome.result == {"suffix": ".step"}

    def test_environment_is_the_contract_alone(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MECAPY_TEST_SECRET", "hidden")
        seen = bench.run("environment").result["result"]
        assert seen["MECAPY_CPU_LIMIT"] == "1"
        assert seen["MECAPY_MEM_LIMIT_MB"] == "256"
        assert seen["OMP_NUM_THREADS"] == "1"
        assert "MECAPY_TEST_SECRET" not in seen

    def test_progress_and_logs_arrive_while_it_runs(self, bench: Bench) -> None:
        seen: list[str] = []
        with bench.sandbox.start(bench.spec("waits_for_stop")) as run:

            def stop_once_seen(event: object) -> None:
                if isinstance(event, LogChunk | ProgressLine):
                    seen.append(type(event).__name__)
                if {"LogChunk", "ProgressLine"} <= set(seen):
                    run.stop(StopReason.CANCELLED)

            outcome = follow(run, stop_once_seen)
        assert outcome.progress[0] == {"step": 1, "total": 2, "message": "é"}
        assert outcome.text("stdout").startswith("ready\n")
        assert outcome.ended.reason is EndReason.STOPPED
        assert outcome.ended.stop is StopReason.CANCELLED

    def test_partial_outputs_of_the_grace_period_are_kept(self, bench: Bench) -> None:
        with bench.sandbox.start(bench.spec("saves_on_sigterm")) as run:
            outcome = follow(run, lambda event: run.stop(StopReason.CANCELLED) if isinstance(event, LogChunk) else None)
        assert outcome.contents == {"partial.txt": b"saved"}

    def test_malformed_progress_is_said_and_skipped(self, bench: Bench) -> None:
        outcome = bench.run("bad_progress")
        assert [record["step"] for record in outcome.progress] == [1, 3]
        assert "progress.jsonl" in outcome.text("platform")

    @pytest.mark.parametrize("limit", [{"progress_lines": 50}, {"progress_bytes": 2000}], ids=["lines", "bytes"])
    def test_progress_above_its_limit_is_dropped_and_said_once(self, bench: Bench, limit: dict[str, Any]) -> None:
        outcome = bench.run("floods_progress", **limit)
        assert outcome.ended.reason is EndReason.EXITED
        assert outcome.result == {"result": 100_000}
        assert outcome.text("platform").count("progress limit of") == 1
        assert len(outcome.progress) <= limit.get("progress_lines", 100_000)
        assert [record["step"] for record in outcome.progress] == list(range(len(outcome.progress)))

    def test_output_keeps_streams_and_split_characters(self, bench: Bench) -> None:
        outcome = bench.run("prints")
        assert outcome.text("stdout") == "één\nlast without newline"
        assert outcome.text("stderr") == "oops\n"

    def test_exception_becomes_the_failure_message(self, bench: Bench) -> None:
        outcome = bench.run("raises")
        assert outcome.ended.exit_code == 1
        assert outcome.collected.error is not None
        assert outcome.error == "load must be positive"
        assert outcome.collected.error["type"] == "ValueError"
        assert "cases.py" in str(outcome.collected.error["traceback"])
        assert outcome.collected.result is None

    @pytest.mark.parametrize(("function", "code"), [("exits", 3), ("exits_at_once", 7), ("exits_with_zero", 1)])
    def test_a_handler_that_exits_has_its_code_and_no_result(self, bench: Bench, function: str, code: int) -> None:
        outcome = bench.run(function)
        assert outcome.ended.exit_code == code
        assert outcome.collected.result is None

    def test_a_crash_says_its_signal(self, bench: Bench) -> None:
        assert bench.run("crashes").ended.signal == 11

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("nan", "Output x: nan"),
            ("infinity", "Output x.y[1]: inf"),
            ("complex", "Output x: a value of type complex"),
            ("bytes", "type bytes"),
            ("set", "type set"),
            ("keys", "keys must be text"),
            ("itself", "nested deeper"),
            ("surrogate", "surrogate"),
        ],
    )
    def test_a_result_without_json_form_names_its_port(self, bench: Bench, kind: str, words: str) -> None:
        outcome = bench.run("odd_result", {"kind": kind})
        assert words in outcome.error
        assert outcome.collected.result is None

    def test_structured_results_are_converted(self, bench: Bench) -> None:
        assert bench.run("structures").result == {
            "force": {"x": 1.0, "y": 2},
            "list": [1, 2],
            "level": "high",
            "named": {"a": 1, "b": [True, None]},
        }

    def test_time_limit_ends_processes_that_ignore_sigterm(self, bench: Bench) -> None:
        started = time.monotonic()
        outcome = bench.run("ignores_sigterm", timeout_seconds=1.0, grace_seconds=0.5)
        assert outcome.ended.reason is EndReason.TIMEOUT
        assert outcome.ended.stop is StopReason.TIMEOUT
        assert "1 s" in outcome.ended.detail
        assert time.monotonic() - started < 10

    def test_a_silent_task_is_stopped_from_another_thread(self, bench: Bench) -> None:
        with bench.sandbox.start(bench.spec("silent", grace_seconds=0.5)) as run:
            threading.Thread(target=run.stop, args=(StopReason.CANCELLED,)).start()
            outcome = follow(run)
        assert outcome.ended.reason is EndReason.STOPPED
        assert outcome.ended.usage.wall_seconds < 10

    def test_stopping_twice_and_closing_twice_is_harmless(self, bench: Bench) -> None:
        run = bench.sandbox.start(bench.spec("silent", grace_seconds=0.2))
        run.stop(StopReason.CANCELLED)
        run.stop(StopReason.DRAIN)
        outcome = follow(run)
        run.close()
        run.close()
        run.stop(StopReason.DRAIN)
        assert outcome.ended.stop is StopReason.CANCELLED

    def test_closing_kills_what_still_runs(self, bench: Bench) -> None:
        run = bench.sandbox.start(bench.spec("silent"))
        run.close()
        assert list(run.events()) == []

    def test_log_is_cut_at_its_limit_and_a_flood_ends_the_run(self, bench: Bench) -> None:
        cut = bench.run("prints_much", {"kilobytes": 96}, log_bytes=64 << 10)
        assert cut.result == {"result": "done"}
        assert "log limit" in cut.text("platform")
        assert len(cut.text("stdout")) < 130 << 10
        flood = bench.run("prints_much", {"kilobytes": 100_000}, log_bytes=64 << 10)
        assert flood.ended.reason is EndReason.LOG_LIMIT
        assert "65536" in flood.ended.detail

    def test_describe_reads_signatures_without_calling(self, bench: Bench) -> None:
        spec = replace(
            bench.spec("none", {"size": "cases:typed", "lost": "cases:absent"}), handler=None, mode=Mode.DESCRIBE
        )
        with bench.sandbox.start(spec) as run:
            found = follow(run).result
        names = {parameter["name"]: parameter for parameter in found["size"]["parameters"]}
        assert names["diameter"]["annotation"] == {"name": "float"}
        assert names["mesh"]["annotation"]["name"] == "Path"
        assert names["factor"]["has_default"] is True
        assert found["size"]["returns"]["fields"]["stress"] == {"name": "float"}
        assert "absent" in found["lost"]["error"]


class ConfinementContract(ChildContract):
    """What a backend that isolates adds: limits of the kernel, outputs that lie, nothing left behind."""

    def test_memory_limit_ends_the_run_with_its_value(self, bench: Bench) -> None:
        outcome = bench.run("takes_memory", {"megabytes": 400}, memory_mb=128)
        assert outcome.ended.reason is EndReason.OUT_OF_MEMORY
        assert "128 MiB" in outcome.ended.detail

    def test_memory_of_a_child_process_counts(self, bench: Bench) -> None:
        assert (
            bench.run("child_takes_memory", {"megabytes": 400}, memory_mb=128).ended.reason is EndReason.OUT_OF_MEMORY
        )

    def test_disk_limit_in_bytes(self, bench: Bench) -> None:
        outcome = bench.run("fills_disk", disk_bytes=4 << 20)
        assert outcome.ended.reason is EndReason.DISK_LIMIT
        assert "4 MiB" in outcome.ended.detail

    def test_a_place_that_is_just_full_is_within_the_limit(self, bench: Bench) -> None:
        outcome = bench.run("stays_full", {"seconds": 0.5}, disk_bytes=4 << 20)
        assert outcome.ended.reason is EndReason.EXITED, outcome.ended
        assert outcome.result is not None
        assert (4 << 20) - (64 << 10) <= outcome.result["written"] <= 4 << 20

    def test_disk_limit_in_files(self, bench: Bench) -> None:
        outcome = bench.run("makes_files", {"count": 1000}, disk_files=100)
        assert outcome.ended.reason is EndReason.DISK_LIMIT
        assert "100 files" in outcome.ended.detail

    def test_process_limit_holds(self, bench: Bench) -> None:
        outcome = bench.run("forks", {"count": 200}, processes=20)
        assert outcome.result["result"] < 25

    def test_links_pipes_and_sparse_files_are_refused(self, bench: Bench) -> None:
        outcome = bench.run("plants")
        assert set(outcome.contents) == {"plain.txt"}
        assert {refusal.name for refusal in outcome.collected.refused} >= {
            "link",
            "fifo",
            "sparse",
            "hard-1",
            "hard-2",
            "socket",
            "folder-link",
        }
        assert all(refusal.reason for refusal in outcome.collected.refused)

    def test_a_planted_result_link_is_not_followed(self, bench: Bench) -> None:
        outcome = bench.run("links_result")
        assert outcome.collected.result is None

    @pytest.mark.parametrize(
        ("limits", "words"), [({"output_files": 5}, "5 files"), ({"output_bytes": 10}, "10 bytes")]
    )
    def test_too_many_or_too_large_outputs_are_said(self, bench: Bench, limits: dict[str, int], words: str) -> None:
        outcome = bench.run("makes_artifacts", {"count": 10}, **limits)
        assert words in outcome.collected.over_limit
        assert outcome.collected.files == ()

    def test_a_result_above_its_limit_is_said(self, bench: Bench) -> None:
        outcome = bench.run("large_result", {"size": 5000}, result_bytes=1000)
        assert "1000 bytes" in outcome.collected.over_limit

    def test_unreadable_outputs_are_read_all_the_same(self, bench: Bench) -> None:
        assert bench.run("closes_modes").contents == {"closed/inside.txt": b"seen"}

    def test_survivors_of_the_handler_die_with_it(self, bench: Bench) -> None:
        marker = f"{time.time_ns()}"
        assert bench.run("leaves_child", {"marker": marker}).result == {"result": "left"}
        assert not _processes_with(marker)

    def test_closing_leaves_no_process(self, bench: Bench) -> None:
        marker = f"{time.time_ns()}"
        run = bench.sandbox.start(bench.spec("silent", {"marker": marker}))
        run.close()
        wait_until(lambda: not _processes_with(marker))
        assert not _processes_with(marker)

    def test_many_at_once_keep_apart(self, bench: Bench) -> None:
        results: dict[int, Any] = {}
        threads = [threading.Thread(target=lambda n=n: results.update({n: bench_run(bench, n)})) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert results == {n: {"result": n * 2} for n in range(8)}

    def test_nothing_of_one_task_is_seen_by_the_next(self, bench: Bench) -> None:
        before = bench.run("looks_for_leftovers").result
        left = bench.run("leaves_everything").result
        after = bench.run("looks_for_leftovers").result
        assert before.pop("random") != after.pop("random") != left["random"]
        assert after == before
        assert after["left"] == []
        assert after["processes"] == []
        assert (after["path"], after["alarm"], after["threads"]) == (False, 0, 1)

    def test_isolation_as_seen_from_inside(self, bench: Bench) -> None:
        seen = bench.run("surroundings:looks_around").result["result"]
        assert seen["uid"] != 0
        assert seen["capabilities"] == "0000000000000000"
        assert seen["no_new_privs"] == "1"
        assert seen["seccomp"] == "2"
        assert seen["interfaces"] in ([], ["lo"])
        assert seen["processes"] == []
        assert seen["readable"] == []
        assert seen["writable"] == []
        assert seen["syscalls_let_through"] == []
        assert seen["connects"] is False


def bench_run(bench: Bench, value: int) -> Any:
    spec = bench.spec("double", {"value": value})
    with bench.sandbox.start(spec) as run:
        return follow(run).result


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    waiter = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        waiter.wait(0.02)


def _processes_with(marker: str) -> list[str]:
    return [entry for entry in _process_titles() if marker in entry]


def _process_titles() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "cmdline").read_text(errors="replace")
            except OSError:
                continue
