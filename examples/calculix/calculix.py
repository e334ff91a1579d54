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

MODE, COMPLEX_MODE, BUCKLING = 2, 3, 4  # `kind` of a result block, see frd
MECHANICAL = frozenset(
    (
        *("STATIC", "VISCO", "DYNAMIC", "MODALDYNAMIC", "BUCKLE"),
        *("COUPLEDTEMPERATURE-DISPLACEMENT", "UNCOUPLEDTEMPERATURE-DISPLACEMENT"),
    )
)
THERMAL = frozenset(("HEATTRANSFER", "COUPLEDTEMPERATURE-DISPLACEMENT", "UNCOUPLEDTEMPERATURE-DISPLACEMENT"))
EIGENVALUES, FACTORS = "E I G E N V A L U E   O U T P U T", "B U C K L I N G   F A C T O R   O U T P U T"
STEP_BEGAN = re.compile(r"^\s*STEP\s+(\d+)\s*$")
ABSURD = 1000.0  # a static displacement of a thousand times the model's own size is a mechanism, not a result
ERROR_LINE = re.compile(r"^\s*\*ERROR\b")
NEXT_MESSAGE = re.compile(r"\s*\*(ERROR|WARNING|INFO)\b")
STARLESS_ERROR = re.compile(r"^\s*(ERROR\b|No analysis was selected)")
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


class CalculixError(RuntimeError):
    """ccx could not run, refused the deck, or gave no sound result. The message says why in ccx's own words."""


@dataclass
class Extremes:
    """Largest displacement and von Mises stress, over all saved increments and in the last one.

    Only states of the model count: mode shapes, Green functions and harmonic responses have a size of their own.
    """

    max_displacement: float = 0.0
    max_displacement_node: int = 0
    last_displacement: float = 0.0
    max_von_mises: float = 0.0
    max_von_mises_node: int = 0
    last_von_mises: float = 0.0
    frequencies: list[float] = field(default_factory=list)
    buckling_factors: list[float] = field(default_factory=list)
    temperature_range: list[float] = field(default_factory=list)
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
    began = steps_begun(log)
    check_steps(scanned, began)
    extremes = read_results(workdir / f"{job}.frd", scanned, first_step=min(began, default=1))
    extremes.frequencies = eigenfrequencies(workdir / f"{job}.dat") or extremes.frequencies
    extremes.buckling_factors = table(workdir / f"{job}.dat", FACTORS, 1) or extremes.buckling_factors
    extremes.notes += yields(scanned, extremes)
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


def steps_begun(log: list[str]) -> list[int]:
    """The numbers of the steps that ccx took up; it reads a step to its *END STEP before it begins."""
    return [int(match[1]) for line in log if (match := STEP_BEGAN.match(line))]


def check_steps(scanned: decks.Deck, began: list[int]) -> None:
    """Every step that the deck asks for was taken up: ccx drops the others without a word and exits with 0."""
    if not scanned.asked_steps:
        raise CalculixError("The deck has no *STEP; nothing was computed.")
    if scanned.open_step:
        what = "nothing was computed" if scanned.asked_steps == 1 else f"step {scanned.open_step} was not computed"
        raise CalculixError(f"the last step has no *END STEP; {what}. Close it with a line *END STEP.")
    if len(began) < scanned.asked_steps:
        raise CalculixError(
            f"The deck asks for {scanned.asked_steps} steps, but ccx took up {len(began)} and ended without an error; "
            "see the artifact ccx.log."
        )


def table(dat: Path, title: str, column: int) -> list[float]:
    """A column of the tables of that title among the printed results, counted from the mode's number."""
    found, is_inside, has_rows = [], False, False
    if not dat.is_file():
        return found
    for line in dat.read_text(encoding="latin-1").splitlines():
        fields = line.split()
        if title in line:
            is_inside, has_rows = True, False
        elif is_inside and fields and fields[0].isdigit() and len(fields) > abs(column):
            found.append(frd.number(fields[column].encode()))
            has_rows = True
        elif is_inside and has_rows:
            is_inside = False
    return [value for value in found if math.isfinite(value)]


def eigenfrequencies(dat: Path) -> list[float]:
    """All natural frequencies, one for each mode, in cycles per unit of time."""
    return table(dat, EIGENVALUES, -2)


def yields(scanned: decks.Deck, extremes: Extremes) -> list[str]:
    """What the procedures of the deck give beside states, and what of it is not here."""
    done, notes = set(scanned.procedures), []
    if done & {"FREQUENCY", "COMPLEXFREQUENCY"}:
        notes.append(
            "Mode shapes have an arbitrary size and do not count towards the extremes."
            if extremes.frequencies
            else "No natural frequency was found in the results; see the artifact ccx.log."
        )
    if "COMPLEXFREQUENCY" in done and extremes.frequencies:
        notes.append(
            "The frequencies of *COMPLEX FREQUENCY follow those of *FREQUENCY; their complex modes are no states."
        )
    if "BUCKLE" in done:
        notes.append(
            "Buckling modes have an arbitrary size and do not count towards the extremes; those are of the reference "
            "load, and the critical load is buckling_factors times it."
            if extremes.buckling_factors
            else "No buckling factor was found in the results; see the artifact ccx.log."
        )
    if "GREEN" in done:
        notes.append("Green functions answer to unit loads and do not count towards the extremes.")
    if "STEADYSTATEDYNAMICS" in done:
        notes.append(
            "The response of *STEADY STATE DYNAMICS has a real and an imaginary part for each frequency (DISP, DISPI "
            "in the frd) and does not count towards the extremes."
        )
    if done & THERMAL and not extremes.temperature_range:
        notes.append("The deck saves no temperatures (*NODE FILE with NT): temperature_range is empty.")
    if scanned.asked_steps < scanned.steps:
        notes.append("The last *STEP of the deck is empty; it was not computed.")
    return notes


def read_results(path: Path, scanned: decks.Deck | None = None, *, first_step: int = 1) -> Extremes:
    """Extremes of the .frd file.

    Refuses a torn file, numbers that are none, and the displacements of a singular model.
    """
    if not path.is_file():
        raise CalculixError("ccx ended without an error and without results: there is no .frd file.")
    if path.stat().st_size and not path.read_bytes()[-16:].rstrip().endswith(b"9999"):
        raise CalculixError("The .frd file breaks off before its end mark: the scratch space was probably full.")
    extremes, seen = Extremes(), set()
    procedures = scanned.procedures if scanned else []
    model, blocks = frd.read(path, frozenset({"DISP", "STRESS", "NDTEMP"}))
    for block in blocks:
        at = block.step - first_step
        procedure = procedures[at] if 0 <= at < len(procedures) else ""
        if not is_state(block, procedure):
            note_mode(extremes, block, procedure)
            continue
        seen.add(block.name)
        if block.name == "DISP" and block.rows:
            is_static = not any("DYNAMIC" in item for item in procedures)
            note_displacement(extremes, block, model.diagonal if is_static else 0.0)
        elif block.name == "STRESS" and block.rows:
            note_stress(extremes, block)
        elif block.name == "NDTEMP" and block.rows:
            note_temperature(extremes, block)
    extremes.notes = explain(seen, procedures)
    return extremes


def is_state(block: frd.Block, procedure: str) -> bool:
    """Whether the block is a state of the model, and no shape, function or part of a response.

    The first block of a buckling step is the state under its reference load: its factor is 0.
    """
    if block.kind == BUCKLING:
        return block.time == 0.0
    return block.kind not in {MODE, COMPLEX_MODE} and procedure not in {"STEADYSTATEDYNAMICS", "GREEN"}


def note_mode(extremes: Extremes, block: frd.Block, procedure: str) -> None:
    """The factor or frequency of a saved mode, for a run that printed none; of two equal ones, one."""
    if block.name != "DISP" or procedure in {"GREEN", "STEADYSTATEDYNAMICS"}:
        return
    values = extremes.buckling_factors if block.kind == BUCKLING else extremes.frequencies
    if block.time not in values:
        values.append(block.time)


def note_temperature(extremes: Extremes, block: frd.Block) -> None:
    high, _ = largest(block, lambda row: row[0])
    low = -largest(block, lambda row: -row[0])[0]
    known = extremes.temperature_range or [low, high]
    extremes.temperature_range = [min(low, known[0]), max(high, known[1])]


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
    best, at = -math.inf, 0
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


def explain(seen: set[str], procedures: list[str]) -> list[str]:
    """Why a figure is 0: a procedure that has such states saved none, or there is no such procedure."""
    if any(procedures) and not MECHANICAL & set(procedures):
        return ["No step has displacements and stresses of its own: max_displacement and max_von_mises are 0."]
    notes = []
    if "DISP" not in seen:
        notes.append("The deck saves no displacements (*NODE FILE with U): max_displacement is 0.")
    if "STRESS" not in seen:
        notes.append("The deck saves no stresses (*EL FILE with S): max_von_mises is 0.")
    return notes
