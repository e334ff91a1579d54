"""Read CalculiX result files (.frd): the model's size, and one block of nodal values at a time. Standard library only.

The layout is that of the CalculiX GraphiX manual, "Result Format" (CalculiX 2.20): lines keyed ` -1` (values of a
node), ` -4` (a data set), ` -5` (a component), ` -3` (end). Text files (`*NODE FILE`) and binary ones (`*NODE OUTPUT`)
are read.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

STATIC = 0  # `ictype` of a result block: 0 static, 1 time step, 2 frequency, 3 load step, 4 user named
NODES_OF_ELEMENT = {1: 8, 2: 6, 3: 4, 4: 20, 5: 15, 6: 10, 7: 3, 8: 6, 9: 4, 10: 8, 11: 2, 12: 3}


@dataclass(frozen=True)
class Block:
    """One data set (`DISP`, `STRESS` ..) of one increment: `rows` holds (node, values) in the order of the file."""

    name: str
    step: int
    number: int  # of the increment, counted through all steps
    time: float  # of the increment; the frequency for a mode
    kind: int
    components: tuple[str, ...]
    rows: list[tuple[int, tuple[float, ...]]] = field(repr=False)


@dataclass
class Model:
    """What the head of the file says: number of nodes, elements, and the diagonal of the box around all nodes."""

    nodes: int = 0
    elements: int = 0
    diagonal: float = 0.0


def read(path: Path, wanted: frozenset[str] | None = None) -> tuple[Model, Iterator[Block]]:
    """The model and an iterator over the result blocks; of names not in `wanted` only the head is read.

    `rows` is empty.
    """
    model = Model()
    return model, _blocks(path, model, wanted)


def von_mises(stress: tuple[float, ...]) -> float:
    """Equivalent stress of (SXX, SYY, SZZ, SXY, SYZ, SZX), same unit: R. von Mises (1913); e.g.

    EN 1993-1-1, 6.2.1(5).
    """
    xx, yy, zz, xy, yz, zx = stress
    return math.sqrt(0.5 * ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) + 3.0 * (xy * xy + yz * yz + zx * zx))


def _blocks(path: Path, model: Model, wanted: frozenset[str] | None) -> Iterator[Block]:
    step = 0
    with path.open("rb") as file:
        while line := file.readline():
            if line.startswith(b"    2C"):
                model.nodes, model.diagonal = _read_nodes(file, line)
            elif line.startswith(b"    3C"):
                model.elements = _skip_elements(file, line)
            elif line.startswith(b"    1PSTEP"):
                step = int(line.split()[3])
            elif line.startswith(b"  100C"):
                yield _read_block(file, line, step, wanted)


def _read_nodes(file: BinaryIO, head: bytes) -> tuple[int, float]:
    count = _integer(head[24:36])
    low, high = [math.inf] * 3, [-math.inf] * 3
    for _, point in _rows(file, count, 3, _format(head), first=True):
        low = [min(a, b) for a, b in zip(low, point, strict=False)]
        high = [max(a, b) for a, b in zip(high, point, strict=False)]
    return count, math.dist(low, high) if count else 0.0


def _skip_elements(file: BinaryIO, head: bytes) -> int:
    count = _integer(head[24:36])
    if _format(head) < 2:
        _skip_text(file)
    else:
        for _ in range(count):
            _, kind, _, _ = struct.unpack("<4i", file.read(16))
            file.read(4 * NODES_OF_ELEMENT[kind])
    return count


def _read_block(file: BinaryIO, head: bytes, step: int, wanted: frozenset[str] | None) -> Block:
    count, form = _integer(head[24:36]), _format(head)
    name, components = "", []
    declared = 1
    while len(components) < declared:
        line = file.readline()
        if line.startswith(b" -4"):
            name, declared = line[5:13].decode().strip(), int(line[13:18])
        elif line.startswith(b" -5"):
            components.append((line[5:13].decode().strip(), line[33:38].strip() == b"1"))
        else:
            raise ValueError(f"{head!r} is not followed by a data set")
    stored = tuple(label for label, computed in components if not computed)
    if wanted is None or name in wanted:
        rows = list(_rows(file, count, len(stored), form, first=False))
    else:
        rows = []
        _skip_values(file, count, len(stored), form)
    return Block(name, step, _integer(head[58:63]), number(head[12:24]), _integer(head[56:58]), stored, rows)


def _rows(file: BinaryIO, count: int, width: int, form: int, *, first: bool) -> Iterator[tuple[int, tuple[float, ...]]]:
    if form >= 2:
        row = struct.Struct(f"<i{width}{'d' if first and form == 3 else 'f'}")
        for _ in range(count):
            node, *values = row.unpack(file.read(row.size))
            yield node, tuple(values)
        return
    digits = 13 if form == 1 else 8
    node, values = 0, ()
    while (line := file.readline()) and not line.startswith(b" -3"):
        numbers = _numbers(line.rstrip(), digits)
        if line.startswith(b" -2"):
            values += numbers
            continue
        if values:
            yield node, values
        node, values = int(line[3:digits]), numbers
    if values:
        yield node, values


def _skip_values(file: BinaryIO, count: int, width: int, form: int) -> None:
    if form >= 2:
        file.read(count * 4 * (1 + width))
    else:
        _skip_text(file)


def _skip_text(file: BinaryIO) -> None:
    while (line := file.readline()) and not line.startswith(b" -3"):
        pass


def _integer(text: bytes) -> int:
    return int(text.strip() or 0)  # CFD results leave the number of nodes blank


def _format(head: bytes) -> int:
    return _integer(head[73:75])  # 0 short text, 1 long text, 2 binary with float values, 3 binary with double values


def _numbers(line: bytes, start: int) -> tuple[float, ...]:
    """The values of a line, 12 places each.

    NaN for a line where one needed more (`-1.00000E+100`), which no sound model reaches.
    """
    if (len(line) - start) % 12:
        return (math.nan,)
    return tuple(number(line[at : at + 12]) for at in range(start, len(line), 12))


def number(text: bytes) -> float:
    """A printed number; NaN where it is none, such as `0.1-100` or stars."""
    try:
        return float(text)
    except ValueError:
        return math.nan
