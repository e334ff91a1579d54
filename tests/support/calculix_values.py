"""Plain `ccx` on the decks of Debian's calculix-ccx-test, and the comparison of its results value by value.

Knows no platform.
"""

import gzip
import json
import math
import os
import re
import shutil
import subprocess
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

DECKS = Path("/usr/share/doc/calculix-ccx-test/examples/test")
EXCLUDED = Path(__file__).parents[2] / "examples" / "calculix" / "decks-excluded.json"

# What a deck reads beside itself: the file's name, and where it comes from (a file of the package, or a file another
# deck writes).
COMPANIONS = {
    "beamread": ("beamread.rin", "beamwrite", "beamwrite.rout"),
    "submodelbeamp": ("beamp.frd", "beamp", "beamp.frd"),
    "submodeltwobeam": ("twobeam.frd", None, "twobeam.frd.gz"),
}
NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*(?:[EeDd][-+]?\d+)?|NaN|Infinity|Inf)")
ERROR_LINE = re.compile(r"^\s*\*ERROR\b", re.MULTILINE)
STAMPS = (b"    1UDATE", b"    1UTIME")  # the only lines of a result file that say when it was made


@dataclass(frozen=True)
class Deck:
    """One deck of the package; `path` may be compressed."""

    name: str
    path: Path

    @property
    def has_companion(self) -> bool:
        return self.name in COMPANIONS

    def text(self) -> bytes:
        return read(self.path)


@dataclass(frozen=True)
class PlainResult:
    """What plain ccx made of a deck. `exit_code` is None when it was stopped for time, negative after a signal."""

    exit_code: int | None
    seconds: float
    log: str
    dat: bytes | None
    frd: bytes | None

    @property
    def completes(self) -> bool:
        """Exit code 0 and no *ERROR: the platform must give the same values. Otherwise it must fail with the cause."""
        return self.exit_code == 0 and not ERROR_LINE.search(self.log)

    @property
    def errors(self) -> list[str]:
        """The lines that begin with *ERROR, stripped."""
        return [line.strip() for line in self.log.splitlines() if ERROR_LINE.match(line)]


@dataclass(frozen=True)
class Comparison:
    """How many numbers were compared, and each difference as a sentence (line and both values)."""

    values: int
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not self.differences


def decks() -> list[Deck]:
    """All decks of the package, by name, excluded ones too."""
    files = [path for path in DECKS.iterdir() if path.name.endswith((".inp", ".inp.gz"))]
    return sorted((Deck(path.name.split(".inp")[0], path) for path in files), key=lambda deck: deck.name)


def excluded() -> dict[str, str]:
    """Name and reason of each deck that is left out."""
    reasons: dict[str, str] = json.loads(EXCLUDED.read_text(encoding="utf-8"))
    del reasons["about"]
    return reasons


def run_plain(deck: Deck, workdir: Path, *, timeout_seconds: float = 120.0, threads: int = 1) -> PlainResult:
    """Run ccx in `workdir` (made if absent), deck and companion beside each other, as an engineer would."""
    prepare(deck, workdir)
    log = workdir / "plain.log"
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": str(threads)}
    started = time.monotonic()
    with log.open("wb") as output:
        try:
            ended = subprocess.run(
                ["ccx", "-i", deck.name],
                cwd=workdir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_seconds,
                check=False,
            )
            code: int | None = ended.returncode
        except subprocess.TimeoutExpired:
            code = None
    seconds = time.monotonic() - started
    results = [
        path.read_bytes() if (path := workdir / f"{deck.name}.{kind}").is_file() else None for kind in ("dat", "frd")
    ]
    return PlainResult(code, seconds, log.read_text(encoding="utf-8", errors="replace"), results[0], results[1])


def prepare(deck: Deck, workdir: Path) -> None:
    """Write the deck as `NAME.inp` and its companion, if it has one, into `workdir`."""
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / f"{deck.name}.inp").write_bytes(deck.text())
    if not deck.has_companion:
        return
    name, writer, source = COMPANIONS[deck.name]
    if writer is None:
        (workdir / name).write_bytes(read(DECKS / source))
        return
    first = next(other for other in decks() if other.name == writer)
    run_plain(first, workdir / writer)
    shutil.copyfile(workdir / writer / source, workdir / name)


def companions_zip(deck: Deck, workdir: Path) -> Path | None:
    """The companion of a deck as the package's `companions` input wants it; else None.

    From a `workdir` that `run_plain` has filled.

    Decks with a companion run under their own name: send `job=deck.name` too.
    """
    if not deck.has_companion:
        return None
    name = COMPANIONS[deck.name][0]
    target = workdir / "companions.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(workdir / name, name)
    return target


def compare_dat(ours: bytes, plain: bytes, *, relative: float = 0.0) -> Comparison:
    """Compare two .dat files line by line and number by number, labels too.

    The tolerance is nothing: the same binary, on the same machine, with one thread, prints the same digits (measured:
    all 290 decks that complete are the same text). With two threads the last digits of two plain runs differ already.
    """
    return compare(ours, plain, relative)


def compare_frd(ours: bytes, plain: bytes, *, relative: float = 0.0) -> Comparison:
    """As `compare_dat`; the two lines of an .frd that hold the date and the time are left out."""
    return compare(ours, plain, relative)


def compare(ours: bytes, plain: bytes, relative: float) -> Comparison:
    mine, theirs = lines(ours), lines(plain)
    if mine == theirs:
        return Comparison(len(NUMBER.findall(b"\n".join(theirs))), ())
    differences = [f"{len(mine)} lines instead of {len(theirs)}"] if len(mine) != len(theirs) else []
    values = 0
    for at, (a, b) in enumerate(zip(mine, theirs, strict=False), 1):
        numbers = NUMBER.findall(b)
        values += len(numbers)
        if a != b and not same_line(a, b, numbers, relative):
            differences.append(
                f"line {at}: {a.decode(errors='replace').strip()!r} instead of {b.decode(errors='replace').strip()!r}"
            )
    return Comparison(values, tuple(differences))


def same_line(a: bytes, b: bytes, numbers: list[bytes], relative: float) -> bool:
    others = NUMBER.findall(a)
    return (
        len(others) == len(numbers)
        and NUMBER.sub(b"", a).split() == NUMBER.sub(b"", b).split()
        and all(same_number(value(x), value(y), relative) for x, y in zip(others, numbers, strict=True))
    )


def same_number(a: float, b: float, relative: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=relative)


def value(text: bytes) -> float:
    return float(text.upper().replace(b"D", b"E"))


def lines(content: bytes) -> list[bytes]:
    return [line for line in content.splitlines() if not line.startswith(STAMPS)]


def read(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data
