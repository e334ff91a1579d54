"""Handlers annotated as people write them, for the contract suite. Standard library only, Python >= 3.10."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Optional


class Grade(enum.Enum):
    S235 = enum.auto()
    S355 = enum.auto()


@dataclass
class Beam:
    length: float
    grade: str = "S235"
    marks: list[Grade] = field(default_factory=list)


def choose(grade: Grade = Grade.S235, beam: Optional[Beam] = None) -> dict[str, Any]:  # noqa: UP045 - as it is written
    """Fails where plain JSON arrives."""
    assert isinstance(grade, Grade)
    assert beam is None or isinstance(beam, Beam)
    return {
        "grade": grade.name,
        "length": beam.length if beam else None,
        "beam": beam.grade if beam else None,
        "marks": [mark.name for mark in beam.marks] if beam else [],
    }
