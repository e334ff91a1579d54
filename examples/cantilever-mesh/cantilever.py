"""A cantilever meshed with linear bricks and solved by CalculiX. SI units. Standard library only.

The bar has a square section and Poisson's ratio 0; its elements lie in a row. Fully integrated linear bricks are too
stiff in bending, as they shear where they should bend: the deflection comes from below, and slowly.
"""

import os
import subprocess
import tempfile
from pathlib import Path

CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))
MOST_ELEMENTS = 20_000


def deflection(elements, length, height, force, young=210e9):
    """Of the free end, downwards, by a mesh of so many elements C3D8."""
    if not 1 <= elements <= MOST_ELEMENTS:
        raise ValueError(f"elements is {elements}: give 1 to {MOST_ELEMENTS}.")
    if min(length, height, young) <= 0:
        raise ValueError("length, height and young must be above 0.")
    deck = deck_of(int(elements), length, height, force, young)
    found = printed_displacements(run_ccx(deck))
    if len(found) != len(CORNERS):
        raise RuntimeError(f"ccx printed the displacement of {len(found)} nodes of the end, not of {len(CORNERS)}.")
    return {"deflection": -sum(found) / len(found), "nodes": 4 * (int(elements) + 1)}


def deck_of(elements: int, length: float, height: float, force: float, young: float) -> str:
    """The input deck: x along the bar, z upwards; the first four nodes are held, the last four loaded."""
    lines = ["*NODE, NSET=ALL"]
    for station in range(elements + 1):
        for corner, (y, z) in enumerate(CORNERS, 1):
            lines.append(f"{4 * station + corner}, {length * station / elements!r}, {height * y!r}, {height * z!r}")
    lines.append("*ELEMENT, TYPE=C3D8, ELSET=BAR")
    for element in range(elements):
        nodes = ", ".join(str(4 * element + place) for place in range(1, 9))
        lines.append(f"{element + 1}, {nodes}")
    last = range(4 * elements + 1, 4 * elements + 5)
    lines += [
        *("*NSET, NSET=END", ", ".join(map(str, last))),
        *("*MATERIAL, NAME=STEEL", "*ELASTIC", f"{young!r}, 0.0"),
        "*SOLID SECTION, ELSET=BAR, MATERIAL=STEEL",
        *("*BOUNDARY", *(f"{node}, 1, 3" for node in range(1, 5))),
        *("*STEP", "*STATIC", "*CLOAD", *(f"{node}, 3, {-force / 4!r}" for node in last)),
        *("*NODE PRINT, NSET=END", "U", "*END STEP", ""),
    ]
    return "\n".join(lines)


def run_ccx(deck: str) -> str:
    """The printed results. Raises RuntimeError with the last words of ccx when it gives none."""
    folder = Path(tempfile.mkdtemp(prefix="ccx-", dir=os.environ.get("MECAPY_SCRATCH") or None))
    (folder / "bar.inp").write_text(deck, encoding="ascii")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(["ccx", "-i", "bar"], cwd=folder, env=environment, capture_output=True, check=False)
    except FileNotFoundError:
        raise RuntimeError("The program ccx is not on this machine: apt-get install calculix-ccx.") from None
    said = done.stdout.decode(errors="replace")
    if done.returncode or "*ERROR" in said:
        raise RuntimeError(f"ccx ended with code {done.returncode}: {' | '.join(said.split(chr(10))[-6:])}")
    return (folder / "bar.dat").read_text(encoding="ascii")


def printed_displacements(text: str) -> list[float]:
    """The z displacements of the lines `node ux uy uz`."""
    rows = (line.split() for line in text.splitlines())
    return [float(row[3]) for row in rows if len(row) == 4 and row[0].isdigit()]
