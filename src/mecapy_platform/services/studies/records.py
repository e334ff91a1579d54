"""Words of studies."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from mecapy_platform.services.tasks.requests import digest_of

MOST_POINTS = 50_000
POINT_BYTES = 64 << 10  # of one point's inputs
STUDY_BYTES = 256 << 20  # of those of all points
CALCULATED_BYTES = 256 << 20  # of rows that are handed to who calculates
PARALLEL = 100  # tasks under way at once, where the study names no number of points
PACKS = 16  # as above, where tasks carry several points


@dataclass(frozen=True)
class Options:
    """How a study runs, as its row keeps it.

    Attributes
    ----------
    priority : 0 to 9, of its tasks
    parallel : points under way at once; None: as many as keep the workers busy
    max_cpu_hours : nothing more is started once its points have used this
    max_failures : nothing more is started once this many have failed
    derived : expressions over inputs and outputs, by name
    criteria : expressions that are true for a point that succeeds, by name
    """

    priority: int = 5
    parallel: int | None = None
    max_cpu_hours: float | None = None
    max_failures: int | None = None
    derived: Mapping[str, str] = field(default_factory=dict)
    criteria: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**stored)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class StudyRequest:
    """A study as it is asked for: what it varies, how points are made, what all of them share."""

    name: str
    package: str
    function: str
    design: Mapping[str, Any]
    version: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    options: Options = Options()

    def digest(self) -> str:
        """The same for requests that ask for the same thing."""
        return digest_of(asdict(self))


def is_readable(port: Mapping[str, Any]) -> bool:
    """Whether an expression may read what a port holds."""
    return not str(port["type"]).startswith(("File", "Object"))


@dataclass(frozen=True)
class Drawn:
    """The points of a design: checked inputs of each, and the design as it is kept (with its seed)."""

    points: Sequence[Mapping[str, Any]]
    design: Mapping[str, Any]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Estimate:
    """What a study would take. `is_learned`: from earlier runs of the function, else from its time limit."""

    points: int
    seconds_each: float
    cpu_hours: float
    is_learned: bool
    waiting_before: int
