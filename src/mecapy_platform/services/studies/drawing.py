"""Makes the points of a design, and checks each as a task's inputs are checked, in bounded processes of their own."""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mecapy_platform.bounded.calls import BoundedCalls, Bounds
from mecapy_platform.bounded.frames import Bound, BoundError
from mecapy_platform.bounded.template import Called
from mecapy_platform.core.errors import InvalidInputError, Problem, UnavailableError
from mecapy_platform.core.sampling.driven import document_of as driven_document
from mecapy_platform.core.sampling.driven import parse_driven
from mecapy_platform.core.sampling.kinds import MAX_SEED, DrivenKind
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.values import check_inputs
from mecapy_platform.db.tables import Function
from mecapy_platform.numerics.calls import StudyMath
from mecapy_platform.services.studies.records import Drawn, is_readable

HERE = "mecapy_platform.services.studies.drawing"


@dataclass(frozen=True)
class Ground:
    """What points are drawn for: a function's ports and units, and the inputs that all points share."""

    ports: Mapping[str, Any]
    free: bool
    units: str
    fixed: Mapping[str, Any]
    outputs: Mapping[str, Any]

    @property
    def types(self) -> dict[str, str]:
        """Of what an expression may read."""
        return {name: str(port["type"]) for name, port in {**self.ports, **self.outputs}.items() if is_readable(port)}

    @classmethod
    def of(cls, function: Function, fixed: Mapping[str, Any]) -> "Ground":
        units = str(function.options.get("units") or UnitSystem.SI)
        return cls(function.inputs or {}, function.free_inputs, units, fixed, function.outputs or {})


@dataclass(frozen=True)
class Step:
    """`state`: "ask" with points from `first` on, "done" with an outcome, "failed" with a code and a message."""

    state: str
    first: int = 0
    points: Sequence[Mapping[str, Any]] = ()
    outcome: Mapping[str, Any] | None = None
    code: str | None = None
    message: str | None = None


class Drawer:
    """One for a process.

    Every method raises InvalidInputError with every problem, at a limit "study_too_complex"; ConflictError
    "points_not_added"; UnavailableError "study_math_unavailable".
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.math = StudyMath(bounds)
        self._checks = BoundedCalls(HERE)

    def draw(self, document: Mapping[str, Any], ground: Ground) -> Drawn:
        """All points of a design, the first ones of a driven study. What is random and names no seed gets one."""
        if document.get("kind") in set(DrivenKind):
            driven = driven_document(parse_driven(document, new_seed=secrets.randbelow(MAX_SEED)))
            step = self.ask(driven, b"", ground)
            return Drawn(step.points, driven)
        design, count = self.math.parse(document, secrets.randbelow(MAX_SEED))
        return self._drawn(design, 0, count, ground)

    def draw_more(self, design: Mapping[str, Any], there: int, addition: Any, ground: Ground) -> Drawn:
        """The points that an addition brings to a design that has `there`."""
        grown, count = self.math.add_points(design, addition)
        return self._drawn(grown, there, count - there, ground)

    def count(self, document: Mapping[str, Any]) -> tuple[int, list[str]]:
        """How many points a design has, and what was read otherwise than written."""
        design, count = self.math.parse(document, 0)
        return count, list(design.get("notes") or [])

    def ask(self, design: Mapping[str, Any], rows: bytes, ground: Ground) -> Step:
        """What a driven study wants next, by the rows of all its points."""
        order = {"design": design, "types": ground.types, "units": ground.units}
        said = self.math.ask(order, rows)
        if said["state"] != "ask":
            return Step(said["state"], outcome=said.get("result"), code=said.get("code"), message=said.get("message"))
        lines = b"".join(json.dumps(inputs).encode() + b"\n" for inputs in said["points"])
        return Step("ask", said["first"], self._checked(lines, said["first"], ground))

    def close(self) -> None:
        self.math.close()
        self._checks.close()

    def _drawn(self, design: Mapping[str, Any], start: int, count: int, ground: Ground) -> Drawn:
        points = self._checked(self.math.draw(design, start, count), start, ground)
        return Drawn(points, design, list(design.get("notes") or []))

    def _checked(self, rows: bytes, start: int, ground: Ground) -> list[dict[str, Any]]:
        order = json.dumps({**vars(ground), "start": start}).encode()
        try:
            answer = self._checks.call(f"{HERE}:check_there", order + b"\n" + rows, self._bounds)
        except OSError as error:
            raise UnavailableError("study_math_unavailable", "No process could be started to check points.") from error
        except BoundError as error:
            if error.bound is Bound.LOST:
                said = "The process that checked the points was lost."
                raise UnavailableError("study_math_unavailable", said) from error
            message = (
                f"Checking the points takes more than {self._bounds.seconds:g} s or "
                f"{self._bounds.memory_bytes >> 20} MiB; ask for fewer points or smaller inputs."
            )
            raise InvalidInputError("study_too_complex", message) from error
        if answer[:1] == b"-":
            said = json.loads(answer[1:])
            problems = [Problem(**problem) for problem in said["problems"]]
            raise InvalidInputError(said["code"], said["message"], problems=problems)
        points: list[dict[str, Any]] = json.loads(answer[1:])
        return points


def check_there(called: Called) -> None:
    """In the bounded call: an order, then a line for each point."""
    head, _, rows = called.argument.partition(b"\n")
    order = json.loads(head)
    try:
        points = list(_checked(order, rows.splitlines()))
    except InvalidInputError as error:
        said = {"code": error.code, "message": error.message, "problems": [item.as_dict() for item in error.problems]}
        called.send(b"-" + json.dumps(said).encode())
        return
    called.send(b"+" + json.dumps(points).encode())


def _checked(order: Mapping[str, Any], rows: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    units = UnitSystem(order["units"])
    for index, row in enumerate(rows, order["start"]):
        try:
            inputs = {**order["fixed"], **json.loads(row)}
            yield check_inputs(order["ports"], inputs, {}, free=order["free"], units=units)
        except InvalidInputError as error:
            problems = [Problem(f"points[{index}].{item.path}", item.code, item.message) for item in error.problems]
            message = f"Point {index} does not fit the function: {error.message}"
            raise InvalidInputError(error.code, message, problems=problems) from error
