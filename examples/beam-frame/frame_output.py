"""What a run leaves beside its result: progress lines, a drawing of the deformed frame, a table of displacements."""

import csv
import json
import os
from pathlib import Path

import numpy as np
from frame_model import Mesh

WIDTH, MARGIN = 800.0, 40.0
SHOWN = 0.1  # the largest displacement is drawn as this share of the frame's size
VIEW = np.array(
    [[0.866, -0.5], [-0.866, -0.5], [0.0, 1.0]]
)  # isometric: x to the lower right, y to the lower left, z up


def out_folder():
    """`out/` of the task's workspace, or None when the function is called without a platform."""
    scratch = os.environ.get("MECAPY_SCRATCH")
    folder = Path(scratch).parent / "out" if scratch else None
    return folder if folder and folder.is_dir() else None


def report(step: int, total: int, message: str) -> None:
    """One line of progress."""
    folder = out_folder()
    if folder:
        with (folder / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "total": total, "message": message}) + "\n")


def write_artifacts(grid: Mesh, u: np.ndarray) -> None:
    """`deformed.svg` and `displacements.csv` in the artifacts of the task."""
    folder = out_folder()
    if not folder:
        return
    (folder / "artifacts").mkdir(exist_ok=True)
    (folder / "artifacts" / "deformed.svg").write_text(drawing(grid, u), encoding="utf-8")
    with (folder / "artifacts" / "displacements.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["x m", "y m", "z m", "ux m", "uy m", "uz m", "rx rad", "ry rad", "rz rad"])
        table.writerows([*point, *moved] for point, moved in zip(grid.points, u.reshape(-1, 6), strict=True))


def drawing(grid: Mesh, u: np.ndarray) -> str:
    """The frame at rest (grey) and deformed (blue), seen isometrically, as SVG."""
    rest = np.array(grid.points)
    moved = u.reshape(-1, 6)[:, :3]
    largest = np.linalg.norm(moved, axis=1).max()
    scale = SHOWN * grid.size / largest if largest > 0 else 0.0
    flat = np.vstack([rest @ VIEW, (rest + scale * moved) @ VIEW])
    low, span = flat.min(axis=0), np.ptp(flat, axis=0).max()
    flat = MARGIN + (flat - low) / span * (WIDTH - 2 * MARGIN)
    height = flat[:, 1].max() + 2 * MARGIN
    flat[:, 1] = height - flat[:, 1]
    lines = []
    for offset, colour in ((0, "#9aa0a6"), (len(rest), "#1a5fb4")):
        for element in grid.elements:
            (x1, y1), (x2, y2) = (flat[offset + element.dofs[end] // 6] for end in (0, 6))
            lines.append(
                f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="2"/>'
            )
    title = (
        f'<text x="{MARGIN}" y="{height - 10:.0f}" font-family="sans-serif" font-size="14">displacements x '
        f"{scale:.3g}</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" '
        f'height="{height:.0f}">{"".join(lines)}{title}</svg>\n'
    )
