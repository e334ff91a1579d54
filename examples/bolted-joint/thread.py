"""Metric threads, hexagon bolts and property classes: standard dimensions, in SI units."""

import math
from dataclasses import dataclass

# nominal diameter: coarse pitch (ISO 261), smallest bearing diameter of a hexagon head (ISO 4014), medium hole (ISO
# 273), in mm
HEXAGON = {
    5: (0.8, 6.88, 5.5),
    6: (1.0, 8.88, 6.6),
    8: (1.25, 11.63, 9.0),
    10: (1.5, 14.63, 11.0),
    12: (1.75, 16.63, 13.5),
    16: (2.0, 22.49, 17.5),
    20: (2.5, 28.19, 22.0),
    24: (3.0, 33.61, 26.0),
    30: (3.5, 42.75, 33.0),
}
# class: proof or yield strength and tensile strength (ISO 898-1:2013, table 3), in MPa; 8.8 is stronger above M16
STRENGTH = {8.8: (640.0, 800.0), 10.9: (940.0, 1040.0), 12.9: (1100.0, 1220.0)}
STRENGTH_8_8_ABOVE_M16 = (660.0, 830.0)


@dataclass(frozen=True)
class Bolt:
    """A hexagon bolt with coarse thread. Lengths in m, areas in m², strengths in Pa."""

    d: float
    pitch: float
    bearing_diameter: float
    hole_diameter: float
    yield_strength: float
    tensile_strength: float

    @property
    def d2(self) -> float:
        """Pitch diameter, ISO 724: d - 0.64952 P."""
        return self.d - 0.649519 * self.pitch

    @property
    def d3(self) -> float:
        """Root diameter, ISO 724: d - 1.22687 P."""
        return self.d - 1.226869 * self.pitch

    @property
    def stress_diameter(self) -> float:
        """Diameter of the stress section, (d2 + d3) / 2 (ISO 898-1)."""
        return (self.d2 + self.d3) / 2

    @property
    def stress_area(self) -> float:
        """Stress area A_s of ISO 898-1, m²."""
        return circle(self.stress_diameter)


def hexagon_bolt(diameter: float, grade: float) -> Bolt:
    """The bolt of nominal `diameter` (m) and property class `grade`; ValueError says which there are."""
    size = round(diameter * 1e3, 6)
    if size not in HEXAGON:
        raise ValueError(f"There is no M{size:g} here; choose a diameter from {', '.join(f'{d} mm' for d in HEXAGON)}.")
    if grade not in STRENGTH:
        raise ValueError(f"There is no property class {grade:g} here; choose from {', '.join(map(str, STRENGTH))}.")
    strong = STRENGTH_8_8_ABOVE_M16 if grade == 8.8 and size > 16 else STRENGTH[grade]
    pitch, bearing, hole = (x * 1e-3 for x in HEXAGON[int(size)])
    return Bolt(diameter, pitch, bearing, hole, strong[0] * 1e6, strong[1] * 1e6)


def circle(diameter: float) -> float:
    return math.pi / 4 * diameter**2
