"""Read a frame's description and cut its members into elements. Every fault of the description is reported at once."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from beam_element import axes

DIRECTIONS = ("ux", "uy", "uz", "rx", "ry", "rz")
SUPPORTS = {"fixed": DIRECTIONS, "pinned": DIRECTIONS[:3]}


class FrameError(ValueError):
    """The frame cannot be computed; the message says why and what to do."""


@dataclass(frozen=True)
class Element:
    member: str
    dofs: np.ndarray  # 12 places in the vector of unknowns
    length: float
    axes: np.ndarray
    section: tuple[float, float, float, float]  # A, Iy, Iz, J
    young: float
    shear: float
    density: float
    load: np.ndarray  # global, N/m


@dataclass
class Mesh:
    """`names` are the nodes of the description; the points between them come from `divisions`."""

    names: dict[str, int]
    points: list[np.ndarray]
    elements: list[Element] = field(default_factory=list)
    held: set[int] = field(default_factory=set)
    nodal_loads: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def size(self) -> float:
        points = np.array(self.points)
        return float(np.linalg.norm(points.max(axis=0) - points.min(axis=0)))


def mesh(model: dict) -> Mesh:
    """Nodes and elements of the description; raises FrameError with all of its faults."""
    faults = find_faults(model)
    if faults:
        raise FrameError("; ".join(faults))
    grid = Mesh(
        {name: at for at, name in enumerate(model["nodes"])}, [np.array(p, float) for p in model["nodes"].values()]
    )
    for name, member in model["members"].items():
        cut(grid, model, name, member)
    for node, support in model["supports"].items():
        grid.held |= {6 * grid.names[node] + DIRECTIONS.index(d) for d in held_directions(support)}
    grid.nodal_loads = np.zeros(6 * len(grid.points))
    for node, load in model.get("loads", {}).items():
        at = 6 * grid.names[node]
        grid.nodal_loads[at : at + 6] += [*load.get("force", (0, 0, 0)), *load.get("moment", (0, 0, 0))]
    return grid


def cut(grid: Mesh, model: dict, name: str, member: dict) -> None:
    """Cut a member into `divisions` elements of equal length."""
    first, last = (grid.names[node] for node in member["nodes"])
    start, end = grid.points[first], grid.points[last]
    material, section = model["materials"][member["material"]], model["sections"][member["section"]]
    divisions = int(member.get("divisions", 4))
    places = [first, *range(len(grid.points), len(grid.points) + divisions - 1), last]
    grid.points += [start + (end - start) * part / divisions for part in range(1, divisions)]
    turn = axes(start, end, member.get("up"))
    shear = material.get("G") or material["E"] / (2 * (1 + material["nu"]))
    for item, two in pairwise(places):
        grid.elements.append(
            Element(
                name,
                np.r_[6 * item : 6 * item + 6, 6 * two : 6 * two + 6],
                float(np.linalg.norm(end - start)) / divisions,
                turn,
                tuple(float(section[key]) for key in ("A", "Iy", "Iz", "J")),
                float(material["E"]),
                float(shear),
                float(material.get("rho", 0.0)),
                np.array(member.get("load", (0, 0, 0)), float),
            )
        )


def held_directions(support: str | list[str]) -> tuple[str, ...]:
    """What a support holds; empty for a word that is none."""
    return SUPPORTS.get(support, ()) if isinstance(support, str) else tuple(support)


def find_faults(model: dict) -> list[str]:
    """What is wrong with the description, one sentence each."""
    missing = [key for key in ("nodes", "materials", "sections", "members", "supports") if not model.get(key)]
    if missing:
        return [f"the model lacks {', '.join(missing)}"]
    faults = [f"nodes.{name}: give three coordinates in m" for name, point in model["nodes"].items() if len(point) != 3]
    for name, member in model["members"].items():
        faults += member_faults(model, name, member)
    for name, section in model["sections"].items():
        faults += [
            f"sections.{name}.{key}: give a value above 0"
            for key in ("A", "Iy", "Iz", "J")
            if not section.get(key, 0) > 0
        ]
    for name, material in model["materials"].items():
        if not material.get("E", 0) > 0 or ("G" not in material and "nu" not in material):
            faults.append(f"materials.{name}: give E in Pa above 0, and G in Pa or nu")
    for name, support in model["supports"].items():
        if not held_directions(support) or set(held_directions(support)) - set(DIRECTIONS):
            faults.append(f"supports.{name}: give fixed, pinned, or a list of {', '.join(DIRECTIONS)}")
    return faults + [
        f"{kind}.{name}: there is no such node"
        for kind in ("supports", "loads")
        for name in model.get(kind, {})
        if name not in model["nodes"]
    ]


def member_faults(model: dict, name: str, member: dict) -> list[str]:
    faults = []
    nodes, ends = model["nodes"], member.get("nodes", [])
    unknown = [str(node) for node in ends if node not in nodes]
    if len(ends) != 2 or unknown:
        faults.append(
            f"members.{name}.nodes: give two nodes of the model"
            + (f"; there is no {', '.join(unknown)}" if unknown else "")
        )
    elif list(nodes[ends[0]]) == list(nodes[ends[1]]):
        faults.append(f"members.{name}: both ends lie at the same point")
    if not 1 <= member.get("divisions", 4) <= 1000:
        faults.append(f"members.{name}.divisions: give 1 to 1000")
    kinds = [kind for kind in ("material", "section") if member.get(kind) not in model[kind + "s"]]
    return faults + [f"members.{name}.{kind}: there is no {kind} {member.get(kind)!r}" for kind in kinds]
