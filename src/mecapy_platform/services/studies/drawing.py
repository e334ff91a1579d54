"""Makes the points of a design, and checks each as a task's inputs are checked.

In a bounded call, for both may be large; the process that draws knows nothing of the platform but what it is told.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mecapy_platform.bounded.calls import BoundedCalls, Bounds
from mecapy_platform.bounded.frames import Bound, BoundError
from mecapy_platform.bounded.template import Called
from mecapy_platform.core.errors import InvalidInputError, Problem, UnavailableError
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.values import check_inputs
from mecapy_platform.db.tables import Function
from mecapy_platform.services.studies.records import MOST_POINTS, Drawn

HERE = "mecapy_platform.services.studies.drawing"


@dataclass(frozen=True)
class Order:
    """What is drawn for: ports of a function and the inputs that all points share."""

    design: Mapping[str, Any]
    fixed: Mapping[str, Any]
    ports: Mapping[str, Any]
    free: bool
    units: str
    first: int = 0  # points that are there already

    @classmethod
    def of(cls, function: Function, design: Mapping[str, Any], fixed: Mapping[str, Any], first: int = 0) -> "Order":
        units = str(function.options.get("units") or UnitSystem.SI)
        return cls(design, fixed, function.inputs or {}, function.free_inputs, units, first)


class Drawer:
    """One for a process."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._calls = BoundedCalls(HERE)

    def draw(self, order: Order) -> Drawn:
        """Raises InvalidInputError with every problem, "design_too_complex"; UnavailableError "drawer_unavailable"."""
        try:
            answer = self._calls.call(f"{HERE}:draw_there", json.dumps(vars(order)).encode(), self._bounds)
        except OSError as error:
            raise UnavailableError("drawer_unavailable", "No process could be started to draw the points.") from error
        except BoundError as error:
            if error.bound is Bound.LOST:
                raise UnavailableError("drawer_unavailable", "The process that drew the points was lost.") from error
            message = (
                f"Drawing the points takes more than {self._bounds.seconds:g} s or "
                f"{self._bounds.memory_bytes >> 20} MiB; ask for fewer points or smaller inputs."
            )
            raise _refusal("design_too_complex", message, [Problem("design", "design_too_complex", message)]) from error
        said = json.loads(answer)
        if "problems" in said:
            raise _refusal(said["code"], said["message"], [Problem(**problem) for problem in said["problems"]])
        return Drawn(**said)

    def close(self) -> None:
        self._calls.close()


def draw_there(called: Called) -> None:
    """In the bounded call."""
    order = Order(**json.loads(called.argument))
    try:
        drawn = drawn_by(order)
    except InvalidInputError as error:
        said = {"code": error.code, "message": error.message, "problems": [item.as_dict() for item in error.problems]}
        called.send(json.dumps(said).encode())
        return
    called.send(json.dumps({"points": drawn.points, "design": drawn.design, "notes": drawn.notes}).encode())


def drawn_by(order: Order) -> Drawn:
    rows = _rows(order)
    units = UnitSystem(order.units)
    points = []
    for place, row in enumerate(rows):
        try:
            checked = check_inputs(order.ports, {**order.fixed, **row}, {}, free=order.free, units=units)
        except InvalidInputError as error:
            raise _of_point(error, order.first + place) from error
        points.append(checked)
    return Drawn(points, order.design)


def _rows(order: Order) -> Sequence[Mapping[str, Any]]:
    kind, rows = order.design.get("kind"), order.design.get("points")
    if kind != "list":
        message = f"There is no design {str(kind)[:60]!r}."
        raise _refusal("design_unknown", message, [Problem("design.kind", "design_unknown", message)])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        message = "A list of points is a list of objects: inputs by port."
        raise _refusal("design_invalid", message, [Problem("design.points", "design_invalid", message)])
    if len(rows) > MOST_POINTS:
        message = f"The design has {len(rows)} points, {MOST_POINTS} is the limit."
        raise _refusal("too_many_points", message, [Problem("design.points", "too_many_points", message)])
    return rows


def _of_point(error: InvalidInputError, index: int) -> InvalidInputError:
    problems = [Problem(f"points.{index}.{item.path}", item.code, item.message) for item in error.problems]
    return _refusal(error.code, f"Point {index} does not fit the function: {error.message}", problems)


def _refusal(code: str, message: str, problems: Sequence[Problem]) -> InvalidInputError:
    return InvalidInputError(code, message, problems=problems)
