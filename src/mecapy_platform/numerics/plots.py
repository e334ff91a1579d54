"""Plots of a study as SVG or PNG: scatter, histogram, convergence, tornado, Pareto set.

Drawn with matplotlib's objects alone, without its global state. The same values give the same bytes.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.sampling.kinds import DesignKind
from mecapy_platform.numerics.analysis import Study, bins_of, objectives_of, read_study
from mecapy_platform.numerics.statistics import dependence, moments, sensitivity

SIZE_INCHES = (7.0, 4.5)
DOTS_AN_INCH = 150
MOST_DOTS = 5_000  # in an SVG; more are thinned out evenly, and said
MOST_BARS = 30
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"  # told apart by all eyes (Okabe and Ito)
MAX_LABEL = 60


class Plot(StrEnum):
    SCATTER = "scatter"
    HISTOGRAM = "histogram"
    CONVERGENCE = "convergence"
    TORNADO = "tornado"
    PARETO = "pareto"


def plot(order: Mapping[str, Any], lines: Iterable[bytes]) -> bytes:
    """The picture of `order["plot"]` as `order["form"]`, svg or png.

    Parameters
    ----------
    order : as of numerics.analysis, with `x` and `y` (names of columns), `labels` {column: text with its unit} and
        `title`; for convergence the `result` of the driven study instead of rows

    Raises
    ------
    InvalidInputError
        "plot_invalid", and those of numerics.analysis.
    """
    kinds = {str(kind) for kind in Plot}
    if order.get("plot") not in kinds or order.get("form") not in {"svg", "png"}:
        said = f"A plot is one of {', '.join(sorted(kinds))}, as svg or png."
        raise InvalidInputError("plot_invalid", said)
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    with mpl.rc_context({"text.parse_math": False, "svg.hashsalt": "mecapy", "svg.fonttype": "path"}):
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        if order["plot"] == Plot.CONVERGENCE:
            _convergence(axes, order)
        else:
            _DRAWN[Plot(order["plot"])](axes, read_study(order, lines))
        if order.get("title"):
            axes.set_title(_short(str(order["title"])))
        return _written(figure, str(order["form"]))


def _written(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": "MecaPy"} if form == "svg" else {"Software": "MecaPy"}
    figure.savefig(buffer, format=form, dpi=DOTS_AN_INCH, metadata=metadata)
    return buffer.getvalue()


def _scatter(axes: Axes, study: Study) -> None:
    x, y = _column(study, "x"), _column(study, "y")
    horizontal, vertical = study.used(x), study.used(y)
    step = -(-len(horizontal) // MOST_DOTS)
    axes.scatter(horizontal[::step], vertical[::step], s=12, color=BLUE, alpha=0.5, linewidths=0)
    if step > 1:
        axes.set_title(f"every {step}th of {len(horizontal):,} points", fontsize=9, color=GREY)
    _label(axes, study.order, x, y)


def _histogram(axes: Axes, study: Study) -> None:
    x = _column(study, "x")
    values = study.used(x)
    found = moments.histogram(values, bins_of(study))
    edges = np.array(found["edges"])
    axes.bar(edges[:-1], found["counts"], np.diff(edges), align="edge", color=BLUE, edgecolor="white", linewidth=0.5)
    for share, style in ((0.05, ":"), (0.5, "-"), (0.95, ":")):
        axes.axvline(float(np.quantile(values, share)), color=ORANGE, linestyle=style, linewidth=1.5)
    _label(axes, study.order, x, "")
    axes.set_ylabel(f"points (of {len(values):,}); lines at 5, 50, 95 %")


def _tornado(axes: Axes, study: Study) -> None:
    """Of a one-at-a-time design the swings; of any other the standardised coefficients of a linear regression."""
    y = _column(study, "y")
    if study.design is not None and study.design.kind is DesignKind.ONE_AT_A_TIME:
        told = sensitivity.tornado(study.design, study.sample.values[y])
        bars = told["bars"][:MOST_BARS]
        middle = told["nominal"]
        ends = [(bar["low"] - middle, bar["high"] - middle) for bar in bars]
        names = [bar["factor"] for bar in bars]
    else:
        inputs = {name: study.used(name) for name in study.names("input")}
        if not inputs:
            raise InvalidInputError("plot_invalid", "A tornado needs columns of inputs.")
        terms = dependence.regression(inputs, study.used(y), study.confidence, quadratic=False)["terms"][1:]
        terms.sort(key=lambda term: -abs(term["standardised"] or 0.0))
        names = [term["term"] for term in terms[:MOST_BARS]]
        middle, ends = 0.0, [(0.0, term["standardised"] or 0.0) for term in terms[:MOST_BARS]]
    places = np.arange(len(names))[::-1]
    for side, color, label in ((0, GREY, "low end"), (1, BLUE, "high end")):
        axes.barh(places, [end[side] for end in ends], left=middle, color=color, label=label, height=0.7)
    axes.set_yticks(places, [_short(name) for name in names])
    axes.axvline(middle, color="black", linewidth=0.8)
    if study.design is not None and study.design.kind is DesignKind.ONE_AT_A_TIME:
        axes.legend(frameon=False)
        axes.set_xlabel(_named(study.order, y))
    else:
        axes.set_xlabel(f"standardised regression coefficient of {_named(study.order, y)}")


def _pareto(axes: Axes, study: Study) -> None:
    goals = {str(said["name"]): said.get("goal") == "maximise" for said in objectives_of(study)}
    x, y = _column(study, "x"), _column(study, "y")
    feasible = study.complete.copy()
    for name in study.names("criterion"):
        feasible &= study.sample.values[name] != 0
    costs = np.stack([study.sample.values[x], study.sample.values[y]], axis=1)
    front = costs[dependence.pareto(costs, [goals.get(x, False), goals.get(y, False)], feasible)]
    step = -(-len(costs) // MOST_DOTS)
    shown = costs[study.complete][::step]
    axes.scatter(shown[:, 0], shown[:, 1], s=10, color=GREY, alpha=0.5, linewidths=0, label="points")
    axes.plot(front[:, 0], front[:, 1], marker="o", color=ORANGE, linewidth=1, markersize=4, label="Pareto set")
    axes.legend(frameon=False)
    _label(axes, study.order, x, y)


def _convergence(axes: Axes, order: Mapping[str, Any]) -> None:
    """Of a convergence study its levels and the extrapolated value; of an optimisation the best so far."""
    result = order.get("result") or {}
    if result.get("series"):
        levels = [row["level"] for row in result["series"]]
        axes.plot(levels, [row["value"] for row in result["series"]], marker="o", color=BLUE, label="computed")
        if result.get("extrapolated") is not None:
            axes.axhline(result["extrapolated"], color=ORANGE, linestyle="--", label="extrapolated")
            axes.legend(frameon=False)
        axes.set_xscale("log")
        axes.set_xlabel(_named(order, str(order.get("x", "level"))))
    elif result.get("history"):
        history = [np.nan if value is None else value for value in result["history"]]
        axes.plot(np.arange(1, len(history) + 1), history, color=BLUE, drawstyle="steps-post")
        axes.set_xlabel("points")
    else:
        raise InvalidInputError("plot_invalid", "This plot needs a convergence study or an optimisation with a result.")
    axes.set_ylabel(_named(order, str(order.get("y", "value"))))


_DRAWN: dict[Plot, Callable[[Axes, Study], None]] = {
    Plot.SCATTER: _scatter,
    Plot.HISTOGRAM: _histogram,
    Plot.TORNADO: _tornado,
    Plot.PARETO: _pareto,
}


def _column(study: Study, axis: str) -> str:
    name = study.order.get(axis)
    if name not in study.sample.values:
        said = f"{axis!r} must name a column: {', '.join(study.sample.values)}."
        raise InvalidInputError("plot_invalid", said)
    return str(name)


def _label(axes: Axes, order: Mapping[str, Any], x: str, y: str) -> None:
    axes.set_xlabel(_named(order, x))
    axes.set_ylabel(_named(order, y))


def _named(order: Mapping[str, Any], name: str) -> str:
    return _short(str((order.get("labels") or {}).get(name, name)))


def _short(text: str) -> str:
    """Without what no font has a letter for."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown if len(shown) <= MAX_LABEL else shown[: MAX_LABEL - 2] + ".."
