"""Types of ports: the catalog, the parser of type expressions, and which output may feed which input."""

from mecapy_platform.core.types.catalog import CATALOG, CATEGORIES, CatalogType, ancestors_of, is_number
from mecapy_platform.core.types.connections import Connection, check_connection
from mecapy_platform.core.types.expressions import (
    DictType,
    FileType,
    ListType,
    LiteralType,
    NamedType,
    StructType,
    TypeExpression,
    UnitType,
    contains_file,
    contains_object,
    file_extensions,
    without_units,
)
from mecapy_platform.core.types.parser import parse_type, read_type

__all__ = [
    "CATALOG",
    "CATEGORIES",
    "CatalogType",
    "Connection",
    "DictType",
    "FileType",
    "ListType",
    "LiteralType",
    "NamedType",
    "StructType",
    "TypeExpression",
    "UnitType",
    "ancestors_of",
    "check_connection",
    "contains_file",
    "contains_object",
    "file_extensions",
    "is_number",
    "parse_type",
    "read_type",
    "without_units",
]
