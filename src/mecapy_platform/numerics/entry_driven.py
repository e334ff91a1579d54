"""What bounded processes run of driven studies."""

import json

from mecapy_platform.bounded.template import Called
from mecapy_platform.numerics import wire
from mecapy_platform.numerics.driven.drive import ask


def ask_there(called: Called) -> None:
    """{"design", "types", "units"} and the rows of all points to what comes next."""
    wire.answer(called, lambda order, lines: [json.dumps(ask(order, lines)).encode()])
