"""Statistics of a study: what is asked, and the rows that it is calculated of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.types import NamedType, UnitType, is_number, parse_type
from mecapy_platform.core.units import UnitSystem, unit_of
from mecapy_platform.db import studies as statements
from mecapy_platform.db.tables import Function
from mecapy_platform.db.workflow_tables import Study
from mecapy_platform.services.studies.advancing import is_driven
from mecapy_platform.services.studies.records import CALCULATED_BYTES, Options, is_readable

USUAL = ("moments", "quantiles")
ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class StatisticsRequest:
    """What to calculate; see docs/reference/study-statistics.md. `options`: bins, probabilities, objectives .."""

    wanted: Sequence[str] = USUAL
    columns: Sequence[str] | None = None  # outputs and derived quantities by name; None: all that are numbers
    leaves_out: bool = False  # points without a value
    options: Mapping[str, Any] = field(default_factory=dict)


def order_of(session: Session, study: Study, asked: StatisticsRequest) -> dict[str, Any]:
    """As numerics.analysis reads it."""
    function = session.get_one(Function, study.function_id)
    inputs, outputs = function.inputs or {}, function.outputs or {}
    varied = _varied(study.design)
    options = Options.read(study.options)
    columns = [{"name": name, "of": "inputs"} for name, port in inputs.items() if name in varied and _is_scalar(port)]
    found = [{"name": name, "of": "outputs"} for name, port in outputs.items() if _is_scalar(port)]
    found += [{"name": name, "expression": text} for name, text in options.derived.items()]
    if asked.columns is not None:
        found = [column for column in found if column["name"] in asked.columns]
    criteria = [{"name": name, "expression": text, "role": "criterion"} for name, text in options.criteria.items()]
    return {
        **asked.options,
        "points": study.points,
        "design": None if is_driven(study) else study.design,  # the points of a driven one follow from results
        "types": {name: port["type"] for name, port in {**inputs, **outputs}.items() if is_readable(port)},
        "units": str(function.options.get("units") or UnitSystem.SI),
        "columns": [*columns, *found, *criteria],
        "wanted": list(asked.wanted),
        "incomplete": "leave_out" if asked.leaves_out else "refuse",
    }


def labels_of(session: Session, study: Study) -> dict[str, str]:
    """Names of inputs and outputs with the units that their numbers are in."""
    function = session.get_one(Function, study.function_id)
    system = UnitSystem(str(function.options.get("units") or UnitSystem.SI))
    labels = {}
    for name, port in {**(function.inputs or {}), **(function.outputs or {})}.items():
        kind = parse_type(str(port["type"]))
        unit = unit_of(kind.name, system) if isinstance(kind, NamedType) else getattr(kind, "unit", None)
        labels[name] = f"{name} [{unit}]" if unit else name
    return labels


def rows_of(session: Session, study: Study) -> bytes:
    """A JSON object a line, as the database writes them: nothing of it is read here."""
    return b"".join(_pieces(session, study))


def _pieces(session: Session, study: Study) -> Iterator[bytes]:
    after, told = -1, 0
    while True:
        wanted = {"study_id": study.id, "after": after, "most": ROWS_AT_ONCE}
        found = session.execute(statements.ROWS, wanted).one()
        if found.rows is None:
            return
        told += len(found.rows)
        if told > CALCULATED_BYTES:
            said = f"The points have more than {CALCULATED_BYTES >> 20} MiB in all, too much to calculate with."
            raise InvalidInputError("study_too_large", f"{said} Return numbers, and large data as files.")
        yield found.rows.encode() + b"\n"
        after = found.last


def _varied(design: Mapping[str, Any]) -> set[str]:
    points = design.get("points")
    if isinstance(points, list):
        return set(points[0]) if points else set()
    return set(design.get("factors") or {})


def _is_scalar(port: Mapping[str, Any]) -> bool:
    kind = parse_type(str(port["type"]))
    return isinstance(kind, UnitType) or (isinstance(kind, NamedType) and is_number(kind.name))
