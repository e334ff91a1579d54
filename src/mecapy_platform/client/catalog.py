"""The types catalog: which unit a port's values have."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from mecapy_platform.client.records import build
from mecapy_platform.client.transport import Transport
from mecapy_platform.core.unit_systems import UnitSystem, unit_of


@dataclass(frozen=True)
class CatalogType:
    """One entry of the catalog; `unit` in SI, as the platform writes it."""

    name: str
    kind: str
    category: str
    parent: str | None = None
    unit: str | None = None
    description: str = ""
    fields: Mapping[str, str] | None = None
    element_type: str | None = None
    length: int | None = None


@dataclass(frozen=True)
class Catalog:
    """All types by name."""

    types: Mapping[str, CatalogType]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls({item["name"]: build(CatalogType, item) for item in data["types"]})

    def in_system(self, system: str) -> "Catalog":
        """The same types with the units of a function that calculates in another system than SI."""
        if system == UnitSystem.SI or system not in set(UnitSystem):
            return self
        return Catalog(
            {
                name: replace(entry, unit=unit_of(name, UnitSystem(system)) or entry.unit)
                for name, entry in self.types.items()
            }
        )

    def unit(self, expression: str) -> str:
        """The unit of every number in a value of this type, or "" where there is none or more than one."""
        name = expression.strip()
        while name.startswith(("list[", "dict[")) and name.endswith("]"):
            name = name[5:-1].rpartition(",")[2].strip()
        if name.startswith("Float[") and name.endswith("]"):
            return name[len("Float[") : -1]
        entry = self.types.get(name)
        if entry is None:
            return ""
        if entry.unit:
            return entry.unit
        return self.unit(entry.element_type) if entry.element_type else ""

    def field_type(self, expression: str, key: str) -> str:
        """The type of one field of a struct or of a composite type; "" where it is unknown."""
        text = expression.strip()
        entry = self.types.get(text)
        if entry is not None and entry.fields:
            return entry.fields.get(key, "")
        if text.startswith("dict[") and text.endswith("]"):
            return text[5:-1].partition(",")[2].strip()
        return _struct_fields(text).get(key, "") if text.startswith("{") else ""


class TypesCatalog:
    """Calls about types; no token is needed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def load(self) -> Catalog:
        return Catalog.from_json(self._transport.get("/types/catalog"))


def _struct_fields(text: str) -> dict[str, str]:
    """`{F: Force3, M: {x: Force}}` as a mapping of names to type expressions, split at the outer commas alone."""
    found: dict[str, str] = {}
    depth, start = 0, 1
    for position, letter in enumerate(text):
        depth += letter in "{["
        depth -= letter in "}]"
        if (letter == "," and depth == 1) or (depth == 0 and position > 0):
            name, _, kind = text[start:position].partition(":")
            found[name.strip().strip("\"'")] = kind.strip().strip("\"'")
            start = position + 1
    return found
