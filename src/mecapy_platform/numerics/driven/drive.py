"""What a driven study wants next: points, or it has come to its end."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mecapy_platform.core.sampling.driven import Driven, Method, parse_driven
from mecapy_platform.core.sampling.kinds import DrivenKind
from mecapy_platform.numerics.analysis import plain
from mecapy_platform.numerics.driven.optimisation import optimise
from mecapy_platform.numerics.driven.reliability import reliability
from mecapy_platform.numerics.driven.replay import Algorithm, DrivenError, PointsNeeded, Replay
from mecapy_platform.numerics.driven.several import optimise_several
from mecapy_platform.numerics.driven.single import converge, find_root
from mecapy_platform.numerics.sample import read_columns, read_sample

_ALGORITHMS: dict[DrivenKind, Algorithm] = {
    DrivenKind.OPTIMISATION: optimise,
    DrivenKind.ROOT_FINDING: find_root,
    DrivenKind.CONVERGENCE: converge,
    DrivenKind.RELIABILITY: reliability,
}


def ask(order: Mapping[str, Any], lines: Iterable[bytes]) -> dict[str, Any]:
    """What comes next, from the recorded rows of all points.

    Returns
    -------
    dict
        {"state": "ask", "first": index, "points": [inputs, ..]}: these points, from `first` on, are to end before the
        next question; those that exist already are named again. {"state": "done", "result": {..}}.
        {"state": "failed", "code", "message"}.
    """
    driven = parse_driven(order["design"], new_seed=0)
    columns = [{"name": str(place), "expression": text} for place, text in enumerate(driven.values)]
    checked = read_columns(columns, order.get("types", {}), order.get("units", "SI"))
    sample = read_sample(lines, checked, driven.points)
    values = np.stack([sample.values[str(place)] for place in range(len(columns))], axis=1)
    replay = Replay(driven, values, sample.inputs)
    return step(driven, replay)


def step(driven: Driven, replay: Replay) -> dict[str, Any]:
    """As `ask`, over points that have been read."""
    algorithm = optimise_several if driven.method is Method.NSGA2 else _ALGORITHMS[driven.kind]
    try:
        return {"state": "done", "result": plain(algorithm(driven, replay))}
    except PointsNeeded as needed:
        points = [replay.written(tuple(row)) for row in needed.points.tolist()]
        return {"state": "ask", "first": needed.first, "points": points}
    except DrivenError as error:
        return {"state": "failed", "code": error.code, "message": error.message}
