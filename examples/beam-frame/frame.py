"""A frame of beams in space by the finite element method: displacements, reactions, end forces, natural frequencies.

SI units.
"""

import math

import beam_element as beam
import numpy as np
from frame_model import DIRECTIONS, FrameError, Mesh, mesh
from frame_output import report, write_artifacts
from scipy.linalg import eigh
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import ArpackNoConvergence, eigsh, splu

DENSE_LIMIT = 400  # below, all eigenvalues at once are faster than Lanczos
ABSURD = 1e3  # a displacement of a thousand times the frame's size is a mechanism


def solve(model, modes=0):
    """Static answer of the frame to its loads, and its first `modes` natural frequencies. See README.md for `model`."""
    report(1, 4, "reading the model")
    grid = mesh(model)
    report(2, 4, f"assembling {len(grid.elements)} elements, {6 * len(grid.points)} degrees of freedom")
    k = assemble(grid, lambda e: beam.stiffness(e.length, *e.section, e.young, e.shear))
    held = np.zeros(6 * len(grid.points), bool)
    held[list(grid.held)] = True
    free = np.flatnonzero(~held)
    if not len(free):
        raise FrameError("Every degree of freedom is supported: nothing can move.")
    loads = load_vector(grid)
    report(3, 4, "solving")
    u = np.zeros(6 * len(grid.points))
    u[free] = equilibrium(k[free][:, free], loads[free], grid)
    reactions = k @ u - loads
    report(4, 4, f"natural frequencies: {modes}" if modes else "writing")
    write_artifacts(grid, u)
    moved = u.reshape(-1, 6)
    return {
        "max_displacement": float(np.linalg.norm(moved[:, :3], axis=1).max()),
        "displacements": {name: moved[at, :3].tolist() for name, at in grid.names.items()},
        "rotations": {name: moved[at, 3:].tolist() for name, at in grid.names.items()},
        "reactions": {
            name: torsor(reactions[6 * at : 6 * at + 6])
            for name, at in grid.names.items()
            if held[6 * at : 6 * at + 6].any()
        },
        "end_forces": end_forces(grid, u),
        "frequencies": frequencies(grid, k, free, int(modes)) if modes else [],
    }


def assemble(grid: Mesh, matrix) -> csc_array:
    """Sum the elements' local 12x12 matrices, turned into global axes."""
    rows, columns, values = [], [], []
    for element in grid.elements:
        turn = np.kron(np.eye(4), element.axes)
        dofs = element.dofs
        rows.append(np.repeat(dofs, 12))
        columns.append(np.tile(dofs, 12))
        values.append((turn.T @ matrix(element) @ turn).ravel())
    size = 6 * len(grid.points)
    return coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size)
    ).tocsc()


def load_vector(grid: Mesh) -> np.ndarray:
    """Nodal loads and the work-equivalent ones of distributed loads."""
    loads = grid.nodal_loads.copy()
    for element in grid.elements:
        turn = np.kron(np.eye(4), element.axes)
        loads[element.dofs] += turn.T @ beam.uniform_load(element.length, element.axes @ element.load)
    return loads


def equilibrium(k: csc_array, loads: np.ndarray, grid: Mesh) -> np.ndarray:
    """Solve K u = f; a frame that can move freely is refused, whether the factorization notices or not."""
    try:
        u = splu(k).solve(loads)
    except RuntimeError as error:
        raise FrameError(f"The frame can move freely ({error}); add supports or connect its members.") from error
    shifts = u[np.isfinite(u)]
    if len(shifts) < len(u) or (len(u) and np.abs(u).max() > ABSURD * max(grid.size, 1.0)):
        raise FrameError(
            "The frame can move freely: its displacements have no bound; add supports or connect its members."
        )
    return u


def frequencies(grid: Mesh, k: csc_array, free: np.ndarray, modes: int) -> list[float]:
    """The lowest natural frequencies in Hz, rising: K φ = ω² M φ."""
    if any(element.density <= 0 for element in grid.elements):
        raise FrameError("Natural frequencies need the density `rho` of every material.")
    m = assemble(grid, lambda e: beam.mass(e.length, *e.section[:3], e.density))
    stiff, heavy = k[free][:, free], m[free][:, free]
    modes = min(modes, len(free))
    if len(free) <= DENSE_LIMIT:
        squares = eigh(stiff.toarray(), heavy.toarray(), eigvals_only=True, subset_by_index=[0, modes - 1])
    else:
        try:
            squares = eigsh(stiff, k=min(modes, len(free) - 2), M=heavy, sigma=0.0, return_eigenvectors=False)
        except ArpackNoConvergence as error:
            raise FrameError(f"The natural frequencies did not converge: {error}") from error
    return [math.sqrt(max(0.0, square)) / (2 * math.pi) for square in sorted(squares.tolist())]


def end_forces(grid: Mesh, u: np.ndarray) -> dict[str, list[float]]:
    """For each member the 12 forces (N) and moments (N·m) on its two ends.

    In local axes, in the order of `DIRECTIONS`.
    """
    found = {}
    for element in grid.elements:
        local = np.kron(np.eye(4), element.axes) @ u[element.dofs]
        force = beam.stiffness(element.length, *element.section, element.young, element.shear) @ local
        force -= beam.uniform_load(element.length, element.axes @ element.load)
        found.setdefault(element.member, []).append(force)
    return {member: [*parts[0][:6].tolist(), *parts[-1][6:].tolist()] for member, parts in found.items()}


def torsor(values: np.ndarray) -> dict[str, list[float]]:
    return {"force": values[:3].tolist(), "moment": values[3 : len(DIRECTIONS)].tolist()}
