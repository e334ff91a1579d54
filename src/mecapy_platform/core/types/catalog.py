"""The catalog of named port types, as published under GET /types/catalog. Units are SI."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class CatalogType:
    """One entry; `fields`, `element_type` and `length` say what a composite is made of."""

    name: str
    kind: str  # primitive | scalar | vector | struct | matrix | file | object
    category: str
    parent: str | None = None
    unit: str | None = None
    description: str = ""
    fields: dict[str, str] | None = None
    element_type: str | None = None
    length: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


_PHYSICAL = (
    ("Length", "m", "Distance, diameter, thickness"),
    ("Area", "m²", "Surface, cross-section"),
    ("Volume", "m³", "Content of a body"),
    ("Mass", "kg", "Amount of matter"),
    ("Density", "kg/m³", "Mass of a volume"),
    ("Time", "s", "Duration"),
    ("Frequency", "Hz", "Cycles in a second"),
    ("Angle", "rad", "Plane angle"),
    ("Force", "N", "Force along a known direction"),
    ("Moment", "N·m", "Moment or torque about a known axis"),
    ("Pressure", "Pa", "Pressure, elastic modulus"),
    ("Stress", "Pa", "Mechanical stress, strength"),
    ("Temperature", "K", "Absolute temperature"),
    ("Energy", "J", "Energy, work, heat"),
    ("Power", "W", "Energy in a second"),
    ("Velocity", "m/s", "Speed along a known direction"),
    ("Acceleration", "m/s²", "Change of velocity in a second"),
)


def _entries() -> Iterable[CatalogType]:
    yield CatalogType("Numeric", "primitive", "primitive", description="Any finite number")
    yield CatalogType("Integer", "primitive", "primitive", "Numeric", description="Whole number")
    yield CatalogType("Float", "primitive", "primitive", "Numeric", description="Real number")
    yield CatalogType("Boolean", "primitive", "primitive", description="true or false")
    yield CatalogType("String", "primitive", "primitive", description="Text")
    for name, unit, description in _PHYSICAL:
        yield CatalogType(name, "scalar", "physical", "Float", unit, description)
    vector: dict[str, Any] = {"kind": "vector", "category": "composite", "length": 3}
    yield CatalogType("Vector3", **vector, element_type="Float", description="[x, y, z]")
    yield CatalogType(
        "Force3", **vector, parent="Vector3", unit="N", element_type="Force", description="Force in space, [x, y, z]"
    )
    yield CatalogType(
        "Moment3",
        **vector,
        parent="Vector3",
        unit="N·m",
        element_type="Moment",
        description="Moment in space, [x, y, z]",
    )
    torsor = {"force": "Force3", "moment": "Moment3"}
    yield CatalogType(
        "Torsor",
        "struct",
        "composite",
        description="Force and moment at a point; {F, M} is accepted too",
        fields=torsor,
    )
    yield CatalogType(
        "Matrix", "matrix", "composite", element_type="Float", description="Rows of numbers, all of one length"
    )
    yield CatalogType(
        "Array",
        "array",
        "composite",
        element_type="Float",
        description="Numbers in lists of any depth, all of one shape, as a NumPy array has",
    )
    yield CatalogType("File", "file", "special", description="A file; File[step,iges] allows these extensions only")
    yield CatalogType("Object", "object", "special", description="Any JSON, for inputs only")


CATALOG: dict[str, CatalogType] = {entry.name: entry for entry in _entries()}
CATEGORIES: tuple[str, ...] = tuple(dict.fromkeys(entry.category for entry in CATALOG.values()))


def ancestors_of(name: str) -> tuple[str, ...]:
    """The parents of a named type, nearest first."""
    found = []
    parent = CATALOG[name].parent
    while parent is not None:
        found.append(parent)
        parent = CATALOG[parent].parent
    return tuple(found)


def is_number(name: str) -> bool:
    return name == "Numeric" or "Numeric" in ancestors_of(name)
