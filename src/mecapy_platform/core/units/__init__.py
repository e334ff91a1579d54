"""Quantities: numbers and units as people write them, and how they are shown."""

from mecapy_platform.core.unit_systems import UNITS, UnitSystem, unit_of, with_prefix
from mecapy_platform.core.units.errors import QuantityError
from mecapy_platform.core.units.numbers import read_number
from mecapy_platform.core.units.quantities import (
    convert,
    describe_dimension,
    in_unit,
    to_number,
)
from mecapy_platform.core.units.reader import read_unit
from mecapy_platform.core.units.table import Unit

__all__ = [
    "UNITS",
    "QuantityError",
    "Unit",
    "UnitSystem",
    "convert",
    "describe_dimension",
    "in_unit",
    "read_number",
    "read_unit",
    "to_number",
    "unit_of",
    "with_prefix",
]
