import importlib
import json
import os
import shutil
import struct
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "calculix"
DECKS = PACKAGE / "tests"
needs_ccx = pytest.mark.skipif(
    shutil.which("ccx") is None and not os.environ.get("MECAPY_REQUIRE_SERVICES"),
    reason="ccx is not installed (deploy/ci/install-debian.sh)",
)


@pytest.fixture
def calculix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(PACKAGE))
    for folder in ("scratch", "out"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("MECAPY_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("MECAPY_CPU_LIMIT", "1")
    return importlib.import_module("calculix")


@needs_ccx
def test_a_cantilever_bends_as_beam_theory_says_and_reports_its_increment(calculix: ModuleType, tmp_path: Path) -> None:
    result = calculix.solve(DECKS / "cantilever.inp")

    assert result["max_displacement"] == pytest.approx(0.192151, rel=3e-3)
    assert result["max_von_mises"] == pytest.approx(60.0, rel=1e-2)
    assert result["frd"].read_bytes().rstrip().endswith(b"9999")
    progress = [json.loads(line) for line in (tmp_path / "out" / "progress.jsonl").read_text().splitlines()]
    assert progress == [{"step": 1, "total": 1, "message": "step 1 of 1, increment 1, time 1"}]
    assert "Job finished" in (tmp_path / "out" / "artifacts" / "ccx.log").read_text()


@needs_ccx
@pytest.mark.parametrize(
    ("deck", "said"),
    [
        ("unsupported.inp", r"singular: ccx exited with 0, but node \d+ moves"),
        ("rejected.inp", r"\*ERROR reading \*SOLID SECTION: nonexistent material"),
    ],
)
def test_a_deck_that_cannot_be_solved_fails_with_its_cause_and_keeps_the_log(
    calculix: ModuleType, tmp_path: Path, deck: str, said: str
) -> None:
    with pytest.raises(RuntimeError, match=said):
        calculix.solve(DECKS / deck)

    assert (tmp_path / "out" / "artifacts" / "ccx.log").stat().st_size > 0


@needs_ccx
def test_included_files_come_from_the_companions(calculix: ModuleType, tmp_path: Path) -> None:
    head, tail = (DECKS / "cantilever.inp").read_text().split("*STEP", 1)
    deck = tmp_path / "two.inp"
    deck.write_text("*INCLUDE, INPUT=mesh/beam.inc\n*STEP" + tail)
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("mesh/beam.inc", head)

    assert calculix.solve(deck, companions=tmp_path / "more.zip")["max_displacement"] == pytest.approx(
        0.191861, rel=1e-5
    )


@pytest.mark.parametrize(
    ("card", "missing"),
    [
        ("*INCLUDE, INPUT=mesh.inc", r"mesh.inc \(named by \*INCLUDE\)"),
        ('*Include,\nInput="my mesh.inc"', "my mesh.inc"),
        ("*SUBMODEL,TYPE=NODE,INPUT=global.frd", r"global.frd \(named by \*SUBMODEL\)"),
        ("*RESTART,READ,STEP=1", r"beam\.rin"),
    ],
)
def test_a_file_that_is_missing_is_named_before_ccx_starts(
    calculix: ModuleType, tmp_path: Path, card: str, missing: str
) -> None:
    (tmp_path / "a.inp").write_text(f"** *INCLUDE, INPUT=comment.inc\n{card}\n*STEP\n*END STEP\n")

    with pytest.raises(RuntimeError, match=missing) as failure:
        calculix.solve(tmp_path / "a.inp", job="beam")

    assert "comment.inc" not in str(failure.value)


@pytest.mark.parametrize("name", ["../deck.inc", "/tmp/deck.inc"])
def test_companions_stay_in_their_folder(calculix: ModuleType, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, "x")

    with pytest.raises(RuntimeError, match="points outside"):
        calculix.solve(DECKS / "cantilever.inp", companions=tmp_path / "bad.zip")


@pytest.mark.parametrize("job", ["../x", "-v", "", "a b"])
def test_a_job_name_is_a_plain_word(calculix: ModuleType, job: str) -> None:
    with pytest.raises(RuntimeError, match="job name"):
        calculix.solve(DECKS / "cantilever.inp", job=job)


@pytest.mark.parametrize(
    ("code", "printed", "said"),
    [
        (0, " Job finished\n", ""),
        (0, " *WARNING in x: careful\n", ""),
        (0, "\n *ERROR in con2phys: too many\n        for node 1\n\n", "*ERROR in con2phys: too many for node 1"),
        (
            201,
            " *ERROR reading *A:\n        wrong\n *ERROR reading *A:\n        wrong\n",
            "exit code 201): *ERROR reading *A: wrong",
        ),
        (201, " No analysis was selected\n", "exit code 201): No analysis was selected"),
        (-11, "working\n", "signal 11) before it finished: it printed no error; its last lines: working"),
    ],
)
def test_the_cause_is_in_the_words_of_ccx(calculix: ModuleType, code: int, printed: str, said: str) -> None:
    cause = calculix.why_failed(code, printed.splitlines())

    assert cause.endswith(said)
    assert bool(cause) == bool(said)


def test_only_whole_increments_that_converged_count(calculix: ModuleType, tmp_path: Path) -> None:
    sta = tmp_path / "a.sta"
    sta.write_text(
        "SUMMARY OF JOB INFORMATION\n  STEP      INC     ATT  ITRS     TOT TIME     STEP TIME      INC TIME\n"
        "     1          1     1U    4  0.50E+00  0.50E+00  0.50E+00\n"
        "     1          1     2     3  0.25E+00  0.25E+00  0.25E+00\n"
        "     1          2     1     3  0.50E+00"
    )

    assert calculix.increments(sta) == [(1, 1, 0.25)]


def test_a_result_that_is_no_number_or_breaks_off_is_refused(calculix: ModuleType, tmp_path: Path) -> None:
    good = text_frd(" 1.00000E+00")
    (tmp_path / "nan.frd").write_bytes(text_frd("         NaN"))
    (tmp_path / "wide.frd").write_bytes(text_frd("-1.00000E+100"))
    (tmp_path / "torn.frd").write_bytes(good[:-40])

    for name, said in (("nan", "not a finite number"), ("wide", "not a finite number"), ("torn", "breaks off")):
        with pytest.raises(RuntimeError, match=said):
            calculix.read_results(tmp_path / f"{name}.frd")


def test_text_and_binary_results_read_alike(calculix: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "text.frd").write_bytes(text_frd(" 1.50000E+00"))
    (tmp_path / "binary.frd").write_bytes(binary_frd(1.5))
    read = [calculix.frd.read(tmp_path / f"{kind}.frd") for kind in ("text", "binary")]
    blocks = [list(found) for _, found in read]

    assert blocks[0] == blocks[1]
    assert blocks[0][0].rows == [(1, (0.0, 0.0, 1.5)), (2, (0.0, 0.0, 0.0))]
    assert [(model.nodes, model.elements, model.diagonal) for model, _ in read] == [(2, 1, 5.0)] * 2


@pytest.mark.parametrize(
    ("stress", "equivalent"),
    [((100, 0, 0, 0, 0, 0), 100), ((50, 50, 50, 0, 0, 0), 0), ((0, 0, 0, 100, 0, 0), 100 * 3**0.5)],
)
def test_von_mises_of_tension_pressure_and_shear(
    calculix: ModuleType, stress: tuple[float, ...], equivalent: float
) -> None:
    assert calculix.frd.von_mises(stress) == pytest.approx(equivalent)


def head(form: int, kind: str, count: int) -> bytes:
    return f"    {kind}C{'':18}{count:12d}{'':37}{form}\n".encode()


def result_head(form: int) -> bytes:
    lines = [
        f"    1PSTEP{1:26d}{1:12d}{1:12d}",
        f"  100CL  101 1.000000000{2:12d}{'':20}{0:2d}{1:5d}{'':10}{form:2d}",
        " -4  DISP        4    1",
        " -5  D1          1    2    1    0",
        " -5  D2          1    2    2    0",
        " -5  D3          1    2    3    0",
        " -5  ALL         1    2    0    0    1ALL",
    ]
    return "".join(line + "\n" for line in lines).encode()


def text_frd(value: str) -> bytes:
    zero = " 0.00000E+00"
    nodes = f" -1         1{zero}{zero}{zero}\n -1         2 3.00000E+00 4.00000E+00{zero}\n -3\n"
    element = " -1         1   11    0    1\n -2         1         2\n -3\n"
    rows = f" -1         1{zero}{zero}{value}\n -1         2{zero}{zero}{zero}\n -3\n 9999\n"
    return head(1, "2", 2) + nodes.encode() + head(1, "3", 1) + element.encode() + result_head(1) + rows.encode()


def binary_frd(value: float) -> bytes:
    nodes = struct.pack("<i3d", 1, 0, 0, 0) + struct.pack("<i3d", 2, 3, 4, 0)
    element = struct.pack("<6i", 1, 11, 0, 1, 1, 2)
    rows = struct.pack("<i3f", 1, 0, 0, value) + struct.pack("<i3f", 2, 0, 0, 0)
    return head(3, "2", 2) + nodes + head(2, "3", 1) + element + result_head(2) + rows + b" 9999\n"
