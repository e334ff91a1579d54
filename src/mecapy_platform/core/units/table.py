"""The closed list of units of mechanical engineering: symbols and words, English and French, with the trade's own.

A symbol or word that is not here is no unit. "Nm" is a newton metre (never a unit of yarn), "Ns" nothing at all.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

BASES = ("length", "mass", "time", "temperature", "angle", "current", "amount")
_PI = Fraction(math.pi)
_GRAVITY = Fraction("9.80665")
_POUND = Fraction("0.45359237")
_INCH = Fraction("0.0254")
_FOOT = 12 * _INCH
_POUND_FORCE = _POUND * _GRAVITY


@dataclass(frozen=True)
class Unit:
    """How many of the SI unit of its dimension it is, and the exponent of each base in the order of BASES.

    `offset` is added, in kelvin, for a scale whose zero lies elsewhere.
    """

    factor: Fraction
    dimension: tuple[Fraction, ...]
    offset: Fraction = Fraction(0)

    def __mul__(self, other: "Unit") -> "Unit":
        return Unit(
            self.factor * other.factor, tuple(a + b for a, b in zip(self.dimension, other.dimension, strict=True))
        )

    def __pow__(self, power: Fraction) -> "Unit":
        factor = self.factor**power
        return Unit(Fraction(factor), tuple(power * exponent for exponent in self.dimension))


def _unit(factor: Fraction | int | str, *exponents: int, offset: Fraction | str = "0") -> Unit:
    whole = (*exponents, *(0 for _ in BASES[len(exponents) :]))
    return Unit(Fraction(factor), tuple(Fraction(exponent) for exponent in whole), Fraction(offset))


PURE = _unit(1)
_LENGTH, _AREA, _VOLUME = (1,), (2,), (3,)
_MASS, _TIME, _KELVIN, _ANGLE = (0, 1), (0, 0, 1), (0, 0, 0, 1), (0, 0, 0, 0, 1)
_FORCE, _PRESSURE, _ENERGY, _POWER = (1, 1, -2), (-1, 1, -2), (2, 1, -2), (2, 1, -3)
_SYMBOL_PREFIXES = {
    "n": "1e-9", "μ": "1e-6", "u": "1e-6", "m": "1e-3", "c": "1e-2", "d": "1e-1", "da": "1e1", "h": "1e2", "k": "1e3",
    "M": "1e6", "G": "1e9", "T": "1e12",
}  # fmt: skip
_WORD_PREFIXES = {
    "nano": "1e-9", "micro": "1e-6", "milli": "1e-3", "centi": "1e-2", "deci": "1e-1", "déci": "1e-1", "deca": "1e1",
    "déca": "1e1", "deka": "1e1", "hecto": "1e2", "kilo": "1e3", "mega": "1e6", "méga": "1e6", "giga": "1e9",
    "tera": "1e12", "téra": "1e12",
}  # fmt: skip
# (symbols that take any prefix, words that take any prefix and a plural s, the unit)
_PREFIXED: tuple[tuple[str, str, Unit], ...] = (
    ("m", "meter metre mètre", _unit(1, *_LENGTH)),
    ("g", "gram gramme", _unit("1e-3", *_MASS)),
    ("s", "second seconde", _unit(1, *_TIME)),
    ("K", "kelvin", _unit(1, *_KELVIN)),
    ("rad", "radian", _unit(1, *_ANGLE)),
    ("A", "ampere ampère", _unit(1, 0, 0, 0, 0, 0, 1)),
    ("mol", "mole", _unit(1, 0, 0, 0, 0, 0, 0, 1)),
    ("Hz", "hertz", _unit(1, 0, 0, -1)),
    ("N", "newton", _unit(1, *_FORCE)),
    ("Pa", "pascal", _unit(1, *_PRESSURE)),
    ("bar", "", _unit(100_000, *_PRESSURE)),
    ("J", "joule", _unit(1, *_ENERGY)),
    ("W", "watt", _unit(1, *_POWER)),
    ("Wh", "", _unit(3600, *_ENERGY)),
    ("Nm", "", _unit(1, *_ENERGY)),
    ("cal", "calorie", _unit("4.184", *_ENERGY)),
    ("V", "volt", _unit(1, 2, 1, -3, 0, 0, -1)),
    ("Ω", "ohm", _unit(1, 2, 1, -3, 0, 0, -2)),
    ("L l", "liter litre", _unit("1e-3", *_VOLUME)),
    ("P", "poise", _unit("0.1", -1, 1, -1)),
    ("St", "stokes", _unit("1e-4", 2, 0, -1)),
)
# symbols that take only these prefixes: (symbols, prefixes, unit)
_FEW: tuple[tuple[str, str, Unit], ...] = (
    ("t", "k M", _unit(1000, *_MASS)),
    ("psi", "k M", _unit(_POUND_FORCE / _INCH**2, *_PRESSURE)),
    ("lbf", "k", _unit(_POUND_FORCE, *_FORCE)),
    ("tf", "k", _unit(1000 * _GRAVITY, *_FORCE)),
    ("Nmm", "k", _unit("1e-3", *_ENERGY)),
    ("Ncm", "", _unit("1e-2", *_ENERGY)),
)
# symbols that take no prefix; words that take a plural s
_PLAIN: tuple[tuple[str, str, Unit], ...] = (
    ("degC", "celsius", _unit(1, *_KELVIN, offset="273.15")),
    ("degF", "fahrenheit", _unit(Fraction(5, 9), *_KELVIN, offset=Fraction("459.67") * Fraction(5, 9))),
    ("deg", "degree degré", _unit(_PI / 180, *_ANGLE)),
    ("gon", "grade", _unit(_PI / 200, *_ANGLE)),
    ("arcmin", "", _unit(_PI / 10_800, *_ANGLE)),
    ("arcsec", "", _unit(_PI / 648_000, *_ANGLE)),
    ("tr trs rev r U", "tour turn revolution Umdrehung Umdrehungen", _unit(2 * _PI, *_ANGLE)),
    ("rpm", "", _unit(2 * _PI / 60, 0, 0, -1, 0, 1)),
    ("min mn", "minute", _unit(60, *_TIME)),
    ("h hr", "hour heure", _unit(3600, *_TIME)),
    ("d j", "day jour", _unit(86_400, *_TIME)),
    ("sec", "", _unit(1, *_TIME)),
    ("", "tonne ton", _unit(1000, *_MASS)),
    ("μ", "micron", _unit("1e-6", *_LENGTH)),
    ("kgf kp", "", _unit(_GRAVITY, *_FORCE)),
    ("gf", "", _unit(_GRAVITY / 1000, *_FORCE)),
    ("kip kips", "", _unit(1000 * _POUND_FORCE, *_FORCE)),
    ("", "dyne", _unit("1e-5", *_FORCE)),
    ("ksi", "", _unit(1000 * _POUND_FORCE / _INCH**2, *_PRESSURE)),
    ("psf", "", _unit(_POUND_FORCE / _FOOT**2, *_PRESSURE)),
    ("atm", "atmosphere atmosphère", _unit(101_325, *_PRESSURE)),
    ("Torr torr", "", _unit(Fraction(101_325, 760), *_PRESSURE)),
    ("mmHg", "", _unit("133.322387415", *_PRESSURE)),
    ("mmH2O mmCE", "", _unit(_GRAVITY, *_PRESSURE)),
    ("mCE", "", _unit(1000 * _GRAVITY, *_PRESSURE)),
    ("hp", "horsepower", _unit(550 * _FOOT * _POUND_FORCE, *_POWER)),
    ("ch PS", "", _unit(75 * _GRAVITY, *_POWER)),
    ("Btu BTU", "", _unit("1055.05585262", *_ENERGY)),
    ("in", "inch inche pouce", _unit(_INCH, *_LENGTH)),
    ("ft", "foot feet pied", _unit(_FOOT, *_LENGTH)),
    ("yd", "yard", _unit(3 * _FOOT, *_LENGTH)),
    ("mi", "mile", _unit(5280 * _FOOT, *_LENGTH)),
    ("mil thou", "", _unit(_INCH / 1000, *_LENGTH)),
    ("ha", "hectare", _unit(10_000, *_AREA)),
    ("lb lbs lbm", "pound", _unit(_POUND, *_MASS)),
    ("oz", "ounce", _unit(_POUND / 16, *_MASS)),
    ("", "slug", _unit(_POUND_FORCE / _FOOT, *_MASS)),
    ("kn", "knot nœud noeud", _unit(Fraction(1852, 3600), 1, 0, -1)),
    ("kph kmh", "", _unit(Fraction(1000, 3600), 1, 0, -1)),
    ("mph", "", _unit(5280 * _FOOT / 3600, 1, 0, -1)),
    ("g0", "", _unit(_GRAVITY, 1, 0, -2)),
    ("pct", "percent pourcent", _unit("1e-2")),
    ("permille", "", _unit("1e-3")),
    ("ppm", "", _unit("1e-6")),
)


def _spellings() -> Iterator[tuple[str, Unit]]:
    """Every spelling; where two units could be meant, the one that comes last (the plain ones) wins."""
    for symbols, words, unit in _PREFIXED:
        for symbol in symbols.split():
            yield from ((prefix + symbol, _times(size, unit)) for prefix, size in _SYMBOL_PREFIXES.items())
        for word in words.split():
            for prefix, size in _WORD_PREFIXES.items():
                yield from ((prefix + word + end, _times(size, unit)) for end in ("", "s"))
            yield from ((word + end, unit) for end in ("", "s"))
    for symbols, prefixes, unit in _FEW:
        for prefix in prefixes.split():
            yield from ((prefix + symbol, _times(_SYMBOL_PREFIXES[prefix], unit)) for symbol in symbols.split())
    for symbols, _, unit in (*_FEW, *_PREFIXED):
        yield from ((symbol, unit) for symbol in symbols.split())
    for symbols, words, unit in _PLAIN:
        yield from ((symbol, unit) for symbol in symbols.split())
        yield from ((word + end, unit) for word in words.split() for end in ("", "s"))


def _times(size: str, unit: Unit) -> Unit:
    return Unit(Fraction(size) * unit.factor, unit.dimension)


@cache
def spellings() -> Mapping[str, Unit]:
    """Every symbol and word, with each prefix that it takes. Made on first use: most commands never need it."""
    return dict(_spellings())
