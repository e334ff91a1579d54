"""Shear, bending moment and deflection along a beam on two supports: closed forms, drawn."""

import os
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # there is no display; say so before pyplot is imported

from matplotlib import pyplot as plt

POINTS = 2001


def draw(span, stiffness, uniform=0.0, force=0.0, position=None):
    """Roark's Formulas for Stress and Strain, table 8.1, cases 1e (one force) and 2e (uniform), added.

    SI units, loads downwards.
    """
    place = span / 2 if position is None else position
    if span <= 0 or stiffness <= 0:
        raise ValueError("span and stiffness must be above 0.")
    if not 0 <= place <= span:
        raise ValueError(f"The force stands at {place:g} m, outside the span of {span:g} m.")
    x = np.union1d(np.linspace(0, span, POINTS), [place])
    left = uniform * span / 2 + force * (span - place) / span
    right = uniform * span + force - left
    beyond = np.maximum(x - place, 0)
    shear = left - uniform * x - force * (x > place)
    moment = left * x - uniform * x**2 / 2 - force * beyond
    deflection = (
        uniform * x * (span**3 - 2 * span * x**2 + x**3) / 24
        + force * ((span - place) * x * (span**2 - (span - place) ** 2 - x**2) / span + beyond**3) / 6
    ) / stiffness
    lowest = int(np.argmax(np.abs(deflection)))
    drawing = _draw(x, {"shear, N": shear, "moment, N·m": moment, "deflection, mm": -1000 * deflection})
    return {
        "left": left,
        "right": right,
        "max_moment": float(moment[np.argmax(np.abs(moment))]),
        "max_deflection": float(deflection[lowest]),
        "max_deflection_at": float(x[lowest]),
        "drawing": drawing,
    }


def _draw(x, lines):
    """A PNG as output, and the same as SVG among the artifacts."""
    figure, axes = plt.subplots(len(lines), sharex=True, figsize=(7, 6), layout="constrained")
    for axis, (name, values) in zip(axes, lines.items(), strict=True):
        axis.plot(x, values, color="black", linewidth=1.2)
        axis.fill_between(x, values, color="0.85")
        axis.set_ylabel(name)
        axis.axhline(0, color="black", linewidth=0.6)
    axes[-1].set_xlabel("x, m")
    out = Path(os.environ["MECAPY_SCRATCH"]).parent / "out" if "MECAPY_SCRATCH" in os.environ else Path.cwd()
    (out / "artifacts").mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "artifacts" / "diagrams.svg")
    drawing = Path("diagrams.png")
    figure.savefig(drawing, dpi=120)
    plt.close(figure)
    return drawing
