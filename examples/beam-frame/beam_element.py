"""The two-node Euler-Bernoulli beam in space: stiffness, consistent mass and load, and its axes.

Twelve degrees of freedom: ux, uy, uz (m), rx, ry, rz (rad) at the first end, then at the second, in local axes: x along
the member, y and z the principal axes of the section. Matrices after J. S. Przemieniecki, Theory of Matrix Structural
Analysis (1968; Dover 1985): stiffness (5.116) without shear deformation, mass (11.20) without rotary inertia of
bending.
"""

import numpy as np

AXIAL, TORSION = (0, 6), (3, 9)
BENDING_Z = (1, 5, 7, 11)  # uy, rz: bending about z
BENDING_Y = (2, 4, 8, 10)  # uz, ry: bending about y
FLIP = np.array([1.0, -1.0, 1.0, -1.0])  # a positive ry lowers uz, where a positive rz lifts uy


def stiffness(length, area, iy, iz, torsion, young, shear):
    """12x12 stiffness in N/m, N, N·m. `length` m, `area` m², `iy` `iz` `torsion` m⁴, `young` `shear` Pa."""
    k = np.zeros((12, 12))
    rod = np.array([[1.0, -1.0], [-1.0, 1.0]])
    k[np.ix_(AXIAL, AXIAL)] = young * area / length * rod
    k[np.ix_(TORSION, TORSION)] = shear * torsion / length * rod
    bend = bending_stiffness(length)
    k[np.ix_(BENDING_Z, BENDING_Z)] = young * iz * bend
    k[np.ix_(BENDING_Y, BENDING_Y)] = young * iy * bend * np.outer(FLIP, FLIP)
    return k


def bending_stiffness(length):
    """4x4 for unit EI, 1/m³ to 1/m: deflection and slope at both ends."""
    a = length
    return (
        np.array(
            [
                [12, 6 * a, -12, 6 * a],
                [6 * a, 4 * a**2, -6 * a, 2 * a**2],
                [-12, -6 * a, 12, -6 * a],
                [6 * a, 2 * a**2, -6 * a, 4 * a**2],
            ]
        )
        / a**3
    )


def mass(length, area, iy, iz, density):
    """12x12 consistent mass in kg, kg·m, kg·m². `density` kg/m³; torsion turns the polar moment iy + iz."""
    m = np.zeros((12, 12))
    rod = np.array([[2.0, 1.0], [1.0, 2.0]]) / 6
    m[np.ix_(AXIAL, AXIAL)] = density * area * length * rod
    m[np.ix_(TORSION, TORSION)] = density * (iy + iz) * length * rod
    a = length
    bend = np.array(
        [
            [156, 22 * a, 54, -13 * a],
            [22 * a, 4 * a**2, 13 * a, -3 * a**2],
            [54, 13 * a, 156, -22 * a],
            [-13 * a, -3 * a**2, -22 * a, 4 * a**2],
        ]
    )
    bend = density * area * length / 420 * bend
    m[np.ix_(BENDING_Z, BENDING_Z)] = bend
    m[np.ix_(BENDING_Y, BENDING_Y)] = bend * np.outer(FLIP, FLIP)
    return m


def uniform_load(length, load):
    """12 nodal forces (N, N·m) of a uniform local load (3, N/m).

    Q L/2 and q L²/12, the reactions of the clamped beam turned round.
    """
    qx, qy, qz = load
    half, twelfth = length / 2, length**2 / 12
    one = [qx * half, qy * half, qz * half, 0.0, -qz * twelfth, qy * twelfth]
    two = [*one[:4], -one[4], -one[5]]
    return np.array(one + two)


def axes(start, end, up=None):
    """3x3 rotation, rows are local x, y, z in global axes.

    `up` fixes z: its part across the member (global z, or y along z).
    """
    along = np.asarray(end, float) - np.asarray(start, float)
    x = along / np.linalg.norm(along)
    guide = np.asarray(up if up is not None else ([0, 1, 0] if abs(x[2]) > 0.999 else [0, 0, 1]), float)
    z = guide - x * (guide @ x)
    if np.linalg.norm(z) < 1e-6 * np.linalg.norm(guide):
        raise ValueError("`up` points along the member; give a direction across it.")
    z /= np.linalg.norm(z)
    return np.array([x, np.cross(z, x), z])
