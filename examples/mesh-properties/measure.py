"""Mass properties of a mesh, summed over its parts in closed form.

A part is a tetrahedron, or the cone from the origin to a triangle of the surface.
"""

from collections import Counter
from pathlib import Path

import meshio
import numpy as np


class MeshError(ValueError):
    """The file is no mesh of a solid."""


def measure(mesh, density=7850.0):
    """Second moments of a tetrahedron after F. Tonon, J. Math. Stat.

    1 (2005) 8-11; a surface by the divergence theorem. SI units.
    """
    if density <= 0:
        raise ValueError("density must be above 0.")
    read = _read(Path(mesh))
    points = np.asarray(read.points, float)
    solids = [block for block in read.cells if block.type == "tetra"]
    tetrahedra = np.concatenate([block.data for block in solids]) if solids else np.empty((0, 4), int)
    triangles = _skin(tetrahedra) if len(tetrahedra) else _triangles(read)
    corners = points[tetrahedra] if len(tetrahedra) else _cones(points, triangles)
    signed = (
        np.einsum(
            "ij,ij->i",
            corners[:, 1] - corners[:, 0],
            np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 0]),
        )
        / 6
    )
    volumes = np.abs(signed) if len(tetrahedra) else signed
    volume = float(volumes.sum())
    if volume <= 0:
        raise MeshError("The mesh encloses no volume: its surface is open, or its triangles face inwards.")
    centre = volumes @ corners.mean(axis=1) / volume
    second = _second_moments(corners - centre, volumes)
    inertia = density * (np.trace(second) * np.eye(3) - second)
    return {
        "volume": volume,
        "area": _area(points, triangles),
        "mass": density * volume,
        "centre": centre,
        "inertia": inertia,
        "cells": len(tetrahedra) or len(triangles),
        "converted": _write(points, tetrahedra, triangles, volumes),
    }


def _read(path):
    try:
        return meshio.read(path)
    except (
        meshio.ReadError,
        SystemExit,
        ValueError,
        KeyError,
        IndexError,
    ) as error:  # meshio ends the program on some bad files
        raise MeshError(f"{path.name} cannot be read as a mesh: {error}") from error


def _triangles(read):
    """Of a surface; each edge must belong to two of them, in opposite directions."""
    found = [block.data for block in read.cells if block.type == "triangle"]
    if not found:
        raise MeshError(
            f"The mesh has neither tetrahedra nor triangles, but {sorted({block.type for block in read.cells})}."
        )
    triangles = np.concatenate(found)
    _, same = np.unique(np.round(read.points, 12), axis=0, return_inverse=True)  # an STL file repeats its points
    edges = Counter(
        (int(a), int(b)) for item in same.reshape(-1)[triangles] for a, b in zip(item, np.roll(item, -1), strict=True)
    )
    if any(edges[b, a] != count for (a, b), count in edges.items()):
        raise MeshError("The surface is not closed, or its triangles face both ways.")
    return triangles


def _skin(tetrahedra):
    """The faces that belong to one tetrahedron alone."""
    faces = np.concatenate([tetrahedra[:, three] for three in ([0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3])])
    _, first, counts = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True)
    return faces[first[counts == 1]]


def _cones(points, triangles):
    corners = points[triangles]
    return np.concatenate([np.zeros((len(corners), 1, 3)), corners], axis=1)


def _area(points, triangles):
    corners = points[triangles]
    return float(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    )


def _second_moments(corners, volumes):
    """Integral of x x^T: V/20 (sum of the corners' products + product of their sums)."""
    sums = corners.sum(axis=1)
    products = np.einsum("nki,nkj->nij", corners, corners) + np.einsum("ni,nj->nij", sums, sums)
    return np.einsum("n,nij->ij", volumes, products) / 20


def _write(points, tetrahedra, triangles, volumes):
    kind, cells = ("tetra", tetrahedra) if len(tetrahedra) else ("triangle", triangles)
    path = Path("converted.vtu")
    meshio.Mesh(points, [(kind, cells)], cell_data={"volume": [volumes]}).write(path)
    return path
