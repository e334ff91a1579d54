"""A portal frame with clamped feet by hand formulas: mass, largest stresses and sway. SI units. Standard library only.

Columns and beam are square tubes whose walls are a twentieth of their width. The beam carries a uniform load downwards,
its left end a horizontal force. Moments and sway after A. Kleinlogel, Rahmenformeln, frame with clamped feet: no
lengthening of members, no shear deformation, no second-order effects.
"""

from dataclasses import dataclass

WALL = 1 / 20  # of the width


@dataclass(frozen=True)
class Tube:
    """A square tube of this width."""

    width: float

    @property
    def area(self) -> float:
        return self.width**2 * (1 - (1 - 2 * WALL) ** 2)

    @property
    def second_moment(self) -> float:
        return self.width**4 * (1 - (1 - 2 * WALL) ** 4) / 12

    @property
    def modulus(self) -> float:
        return 2 * self.second_moment / self.width


@dataclass(frozen=True)
class Moments:
    """Where they are largest, N·m, in amounts."""

    foot: float
    knee: float
    span: float


def check(column, beam, height, span, load, wind, young=210e9, density=7850.0):
    """`column` and `beam` are the widths of the tubes, `load` in N/m."""
    require_positive(column=column, beam=beam, height=height, span=span, young=young, density=density)
    if load < 0 or wind < 0:
        raise ValueError("load acts downwards and wind to the right: give 0 or more.")
    post, rafter = Tube(column), Tube(beam)
    ratio = rafter.second_moment * height / (post.second_moment * span)  # k
    found = moments(ratio, height, span, load, wind)
    thrust = load * span / 2 + 3 * wind * height * ratio / (
        span * (6 * ratio + 1)
    )  # in the column that the wind presses
    sway = wind * height**3 * (3 * ratio + 2) / (12 * young * post.second_moment * (6 * ratio + 1))
    return {
        "mass": density * (2 * height * post.area + span * rafter.area),
        "column_stress": max(found.foot, found.knee) / post.modulus + thrust / post.area,
        "beam_stress": max(found.knee, found.span) / rafter.modulus,
        "sway": sway,
    }


def moments(ratio, height, span, load, wind) -> Moments:
    """Load: M_knee = q l² / (6 (k + 2)), half of it at the foot.

    Wind: M_foot = H h/2 (3k + 1)/(6k + 1), M_knee = H h/2 3k/(6k + 1), of either sign left and right. On the beam the
    shear falls by q to 0 at x, where the moment is M_left + V_left² / (2q).
    """
    carried, pushed = load * span**2 / (6 * (ratio + 2)), wind * height / 2 / (6 * ratio + 1)
    foot = carried / 2 + pushed * (3 * ratio + 1)
    left, right = pushed * 3 * ratio - carried, -pushed * 3 * ratio - carried
    shear = load * span / 2 + (right - left) / span
    largest = left + shear**2 / (2 * load) if 0 < shear < load * span else max(left, right)
    return Moments(foot, -right, abs(largest))


def require_positive(**values) -> None:
    wrong = [f"{name} is {value:g}" for name, value in values.items() if value <= 0]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: give a value above 0.")
