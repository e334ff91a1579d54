"""A handler of ours, for the rehearsal of a call in the zygote: about what a small formula does."""

from __future__ import annotations

import math


def answer(load: float, name: str) -> dict[str, object]:
    return {"stress": math.sqrt(load) * 2.0, "name": name.upper(), "steps": [load * step for step in range(8)]}
