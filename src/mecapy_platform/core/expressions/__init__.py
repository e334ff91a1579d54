"""Expressions on quantities: arithmetic, comparison and conditions that workflows and studies compute. No code, no I/O.

Numbers are in SI while an expression computes; what it may read, and what it gives, is described by types of ports.
See docs/reference/expressions.md.
"""

from mecapy_platform.core.expressions.checked import Checked, check, evaluate, infer
from mecapy_platform.core.expressions.errors import ExpressionError
from mecapy_platform.core.expressions.functions import FUNCTIONS
from mecapy_platform.core.expressions.kinds import (
    BOOLEAN,
    BooleanKind,
    Kind,
    ListKind,
    MappingKind,
    NumberKind,
    StructKind,
    TextKind,
    said,
)
from mecapy_platform.core.expressions.parser import parse
from mecapy_platform.core.expressions.tree import Expression

__all__ = [
    "BOOLEAN",
    "FUNCTIONS",
    "BooleanKind",
    "Checked",
    "Expression",
    "ExpressionError",
    "Kind",
    "ListKind",
    "MappingKind",
    "NumberKind",
    "StructKind",
    "TextKind",
    "check",
    "evaluate",
    "infer",
    "parse",
    "said",
]
