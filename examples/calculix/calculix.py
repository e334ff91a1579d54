"""Run the real CalculiX (`ccx`) on an input deck and hand back its files and what an engineer reads first.

Standard library only.
"""

import json
import math
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import deck as decks
import frd

MODE = 2  # `kind` of a result block that holds a mode shape: its amplitude is arbitrary
ABSURD = 1000.0  # a static displacement of a thousand times the model's own size is a mechanism, not a result
ERROR_LINE = re.compile(r"^\s*\*ERROR\b")
NEXT_MESSAGE = re.compile(r"\s*\*(ERROR|WARNING|INFO)\b")
STARLESS_ERROR = re.compile(r"^\s*(ERROR\b|No analysis was selected)")
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


class CalculixError(RuntimeError):
    """ccx could not run, refused the deck, or gave no sound result. The message says why in ccx's own words."""


@dataclass
class Extremes:
    """Largest displacement and von Mises stress, over all saved increments and in the last one; modes apart."""

    max_displacement: float = 0.0
    max_displacement_node: int = 0
    last_displacement: float = 0.0
    max_von_mises: float = 0.0
    max_von_mises_node: int = 0
    last_von_mises: float = 0.0
    frequencies: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def solve(deck, companions=None, job="deck", threads=1):
    """Run ccx on `deck`, an .inp file, beside the files of `companions`, a zip.

    All numbers are in the deck's own units.

    One thread by default: with more, ccx adds in another order each time, and the last digits of two runs differ.
    """
    workdir = prepare(Path(deck), Path(companions) if companions else None, job)
    scanned = decks.scan(workdir / f"{job}.inp", job)
    if scanned.missing:
        raise CalculixError(
            f"The deck asks for files that are not there: {'; '.join(scanned.missing)}. Send them as a zip in "
            f"`companions`."
        )
    log = run_ccx(workdir, job, scanned.steps, threads)
    keep_artifacts(workdir, job)
    extremes = read_results(workdir / f"{job}.frd", static="DYNAMIC" not in scanned.keywords)
    files = {"dat": f"{job}.dat", "frd": f"{job}.frd", "sta": f"{job}.sta", "restart": f"{job}.rout"}
    return {
        **vars(extremes),
        "increments": len(increments(workdir / f"{job}.sta")),
        "warnings": sum("*WARNING" in line for line in log),
        **{port: hand_over(port, workdir / name) for port, name in files.items() if (workdir / name).is_file()},
    }


def prepare(deck: Path, companions: Path | None, job: str) -> Path:
    """A fresh folder in the scratch space with the deck under the job's name and the companions beside it."""
    if not JOB_NAME.fullmatch(job):
        raise CalculixError(f"job {job!r}: a job name is letters, digits, - and _, at most 60.")
    workdir = Path(tempfile.mkdtemp(prefix="ccx-", dir=os.environ.get("MECAPY_SCRATCH") or None))
    if companions:
        with zipfile.ZipFile(companions) as archive:
            for member in archive.infolist():
                if member.filename.startswith("/") or ".." in Path(member.filename).parts:
                    raise CalculixError(
                        f"companions: {member.filename!r} points outside the folder; zip plain relative names."
                    )
                archive.extract(member, workdir)
    shutil.copyfile(deck, workdir / f"{job}.inp")
    return workdir


def run_ccx(workdir: Path, job: str, steps: int, threads: int) -> list[str]:
    """Run to the end, reporting each increment; return the lines ccx printed. Raises CalculixError with the cause."""
    allowed = min(threads, int(os.environ.get("MECAPY_CPU_LIMIT", "1")))
    names = ("OMP_NUM_THREADS", "CCX_NPROC_STIFFNESS", "CCX_NPROC_EQUATION_SOLVER", "CCX_NPROC_RESULTS")
    environment = {**os.environ, **dict.fromkeys(names, str(max(1, allowed)))}
    log = workdir / "ccx.log"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                ["ccx", "-i", job],
                cwd=workdir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except FileNotFoundError:
            raise CalculixError(
                "The program ccx is not on this machine. On Debian or Ubuntu: apt-get install calculix-ccx."
            ) from None
        watch(process, workdir / f"{job}.sta", steps)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    cause = why_failed(process.returncode, lines)
    if cause:
        keep_artifacts(workdir, job)
        raise CalculixError(cause)
    return lines


def watch(process: subprocess.Popen, sta: Path, steps: int) -> None:
    """Wait for ccx; write one progress line for each increment that it finishes."""
    seen, pause = 0, 0.005
    while True:
        try:
            process.wait(timeout=pause)
        except subprocess.TimeoutExpired:
            pause = min(2 * pause, 0.25)
        done = increments(sta)
        for step, increment, reached in done[seen:]:
            report(
                step, max(steps, step), f"step {step} of {max(steps, step)}, increment {increment}, time {reached:g}"
            )
        seen = len(done)
        if process.returncode is not None:
            return


def increments(sta: Path) -> list[tuple[int, int, float]]:
    """(step, increment, total time) of every line of the status file that is whole and ended well."""
    if not sta.is_file():
        return []
    found = []
    for line in sta.read_text(encoding="latin-1").splitlines(keepends=True):
        fields = line.split()
        if len(fields) == 7 and line.endswith("\n") and fields[0].isdigit() and not fields[2].endswith("U"):
            found.append((int(fields[0]), int(fields[1]), float(fields[4])))
    return found


def report(step: int, total: int, message: str) -> None:
    """One line of progress for the platform, where there is one, and of the log."""
    print(message, flush=True)
    folder = out_folder()
    if folder:
        with (folder / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "total": total, "message": message}) + "\n")


def out_folder() -> Path | None:
    """`out/` of the task's workspace, or None when the function is called without a platform."""
    scratch = os.environ.get("MECAPY_SCRATCH")
    folder = Path(scratch).parent / "out" if scratch else None
    return folder if folder and folder.is_dir() else None


def keep_artifacts(workdir: Path, job: str) -> None:
    """What ccx printed and how it converged are kept with the task, above all when it failed."""
    folder = out_folder()
    if folder:
        (folder / "artifacts").mkdir(exist_ok=True)
        for name in ("ccx.log", f"{job}.cvg"):
            if (workdir / name).is_file():
                shutil.copyfile(workdir / name, folder / "artifacts" / name)


def hand_over(port: str, path: Path) -> Path:
    """Move a result to the place of its port: result files are large, and scratch space counts as memory."""
    folder = out_folder()
    if not folder or not (folder / "files").is_dir():
        return path
    return Path(shutil.move(path, folder / "files" / f"{port}{path.suffix}"))


def why_failed(code: int, lines: list[str]) -> str:
    """The cause in ccx's words, or "" for a run that ended well.

    ccx may print *ERROR and still exit with 0: that is a failure.
    """
    errors = messages(lines, ERROR_LINE)
    if code == 0 and not errors:
        return ""
    errors = errors or messages(lines, STARLESS_ERROR)
    said = " | ".join(errors[:3]) or "it printed no error; its last lines: " + " | ".join(
        text for line in lines[-6:] if (text := line.strip())
    )
    if code < 0:
        return f"ccx crashed (signal {-code}) before it finished: {said}"
    return f"ccx rejected the deck or could not solve it (exit code {code}): {said}"


def messages(lines: list[str], start: re.Pattern) -> list[str]:
    """Error messages, each one sentence: the line that begins it and the indented lines below it.

    Repeats are left out.
    """
    found = {}
    for at, line in enumerate(lines):
        if start.match(line):
            parts = [line.strip()]
            for below in lines[at + 1 : at + 6]:
                if not below.startswith("  ") or not below.strip() or NEXT_MESSAGE.match(below):
                    break
                parts.append(below.strip())
            found[" ".join(parts)] = None
    return list(found)


def read_results(path: Path, *, static: bool) -> Extremes:
    """Extremes of the .frd file.

    Refuses a torn file, numbers that are none, and the displacements of a singular model.
    """
    if not path.is_file():
        raise CalculixError("ccx ended without an error and without results: there is no .frd file.")
    if path.stat().st_size and not path.read_bytes()[-16:].rstrip().endswith(b"9999"):
        raise CalculixError("The .frd file breaks off before its end mark: the scratch space was probably full.")
    extremes, seen = Extremes(), set()
    model, blocks = frd.read(path, frozenset({"DISP", "STRESS"}))
    for block in blocks:
        seen.add(block.name)
        if block.kind == MODE:
            note_mode(extremes, block)
        elif block.name == "DISP" and block.rows:
            note_displacement(extremes, block, model.diagonal if static else 0.0)
        elif block.name == "STRESS" and block.rows:
            note_stress(extremes, block)
    extremes.notes = explain(seen, extremes)
    return extremes


def note_mode(extremes: Extremes, block: frd.Block) -> None:
    if block.name == "DISP" and block.time not in extremes.frequencies:
        extremes.frequencies.append(block.time)


def note_displacement(extremes: Extremes, block: frd.Block, size: float) -> None:
    value, node = largest(block, lambda row: math.hypot(*row[:3]))
    if 0 < ABSURD * size < value:
        raise CalculixError(
            f"The model is singular: ccx exited with 0, but node {node} moves {value:.3g} in step {block.step} while "
            f"the whole model "
            f"measures {size:.3g}. Some part can move freely; check the supports (*BOUNDARY), contacts and ties."
        )
    extremes.last_displacement = value
    if value >= extremes.max_displacement:
        extremes.max_displacement, extremes.max_displacement_node = value, node


def note_stress(extremes: Extremes, block: frd.Block) -> None:
    value, node = largest(block, frd.von_mises)
    extremes.last_von_mises = value
    if value >= extremes.max_von_mises:
        extremes.max_von_mises, extremes.max_von_mises_node = value, node


def largest(block: frd.Block, measure) -> tuple[float, int]:
    """(value, node) of the largest measure in the block; refuses NaN and infinity."""
    best, at = -1.0, 0
    for node, row in block.rows:
        value = measure(row)
        if not math.isfinite(value):
            raise CalculixError(
                f"ccx exited with 0, but {block.name} at node {node} in step {block.step} is not a finite number: "
                "the equations could not be solved. Is the model held in all directions?"
            )
        if value > best:
            best, at = value, node
    return best, at


def explain(seen: set[str], extremes: Extremes) -> list[str]:
    notes = []
    if "DISP" not in seen:
        notes.append("The deck saves no displacements (*NODE FILE with U): max_displacement is 0.")
    if "STRESS" not in seen:
        notes.append("The deck saves no stresses (*EL FILE with S): max_von_mises is 0.")
    if extremes.frequencies:
        notes.append("Mode shapes have an arbitrary size and do not count towards the extremes.")
    return notes
