"""How numbers with a unit are shown to people: large ones with an SI prefix, where the unit is a plain named one."""

import math

FROM = 1e5
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_TAKE_PREFIX = frozenset({"m", "N", "Pa", "J", "W", "Hz"})


def with_prefix(largest: float, unit: str) -> tuple[float, str]:
    """(divisor, unit with prefix) for numbers whose largest magnitude is `largest`; (1, unit) where none is shown.

    Never for m² (a prefix is squared with it), K, kg, products or a unit that has a prefix already.
    """
    if unit not in _TAKE_PREFIX or not math.isfinite(largest) or abs(largest) < FROM:
        return 1.0, unit
    size, prefix = next((size, prefix) for size, prefix in _PREFIXES if abs(largest) >= size)
    return size, prefix + unit
