"""The mathematics of studies for the rest of the platform: each call is a process of its own with limits.

Imports none of the heavy libraries. Rows are bytes, a JSON object a line, {"index", "state", "inputs", "outputs"}, as
the database gives them: they are read in the process alone.
"""

import json
import threading
from collections.abc import Mapping
from typing import Any

from mecapy_platform.bounded.calls import BoundedCalls, Bounds
from mecapy_platform.bounded.frames import Bound, BoundError
from mecapy_platform.core.errors import InvalidInputError, UnavailableError
from mecapy_platform.numerics.wire import read_answer, written_order

ENTRY = "mecapy_platform.numerics.entry"
DRIVEN = "mecapy_platform.numerics.entry_driven"
EXPORTS = "mecapy_platform.numerics.entry_exports"
# A call has one core, and threads of a linear algebra library would not live on in a fork.
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
USUAL = Bounds(seconds=120.0, memory_bytes=2 << 30)
AT_ONCE = 2  # calls of a process; each may take all the memory of its bounds
PATIENCE_SECONDS = 5.0  # of a thread that waits for its turn: others need it too


class StudyMath:
    """One for a process. Its first call starts a process that keeps the libraries (about 110 MiB) until `close`.

    Every method raises InvalidInputError ("study_too_complex" at a limit, or what the calculation refuses),
    ConflictError, and UnavailableError "study_math_unavailable", or "study_math_busy" while `at_once` others calculate.
    """

    def __init__(
        self, bounds: Bounds = USUAL, *, at_once: int = AT_ONCE, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._bounds = bounds
        self._turn = threading.BoundedSemaphore(at_once)
        self._patience_seconds = patience_seconds
        self._calls = BoundedCalls(ENTRY, environment=ONE_THREAD)

    def parse(self, document: Any, new_seed: int) -> tuple[dict[str, Any], int]:
        """A design as it is to be recorded, and its number of points; see `core.sampling.design.parse_design`."""
        said = json.loads(self._ask(ENTRY, "parse_there", {"design": document, "new_seed": new_seed}))
        return said["design"], said["points"]

    def add_points(self, document: Mapping[str, Any], addition: Any) -> tuple[dict[str, Any], int]:
        """A recorded design with more points, and their number; see `core.sampling.design.add_points`."""
        order = {"design": document, "new_seed": 0, "addition": addition}
        said = json.loads(self._ask(ENTRY, "parse_there", order))
        return said["design"], said["points"]

    def draw(self, document: Mapping[str, Any], start: int, count: int) -> bytes:
        """Inputs of the points from `start` on, one JSON object a line; fewer lines where the design ends before."""
        return self._ask(ENTRY, "draw_there", {"design": document, "start": start, "count": count})

    def statistics(self, order: Mapping[str, Any], rows: bytes) -> dict[str, Any]:
        """See `numerics.analysis.analyse` and docs/reference/study-statistics.md."""
        found: dict[str, Any] = json.loads(self._ask(ENTRY, "statistics_there", order, rows))
        return found

    def ask(self, order: Mapping[str, Any], rows: bytes) -> dict[str, Any]:
        """What a driven study wants next: see `numerics.driven.drive.ask`. `rows`: all its points, in any state."""
        found: dict[str, Any] = json.loads(self._ask(DRIVEN, "ask_there", order, rows))
        return found

    def plot(self, order: Mapping[str, Any], rows: bytes) -> bytes:
        """An SVG or PNG: see `numerics.plots.plot`."""
        return self._ask(EXPORTS, "plot_there", order, rows)

    def parquet(self, order: Mapping[str, Any], rows: bytes) -> bytes:
        """A Parquet file of rows: see `numerics.tables.parquet`."""
        return self._ask(EXPORTS, "parquet_there", order, rows)

    def close(self) -> None:
        self._calls.close()

    def _ask(self, module: str, name: str, order: Mapping[str, Any], rows: bytes = b"") -> bytes:
        if not self._turn.acquire(timeout=self._patience_seconds):
            raise UnavailableError("study_math_busy", "Other studies are being calculated right now; ask again soon.")
        try:
            return read_answer(self._called(module, name, order, rows))
        finally:
            self._turn.release()

    def _called(self, module: str, name: str, order: Mapping[str, Any], rows: bytes) -> bytes:
        try:
            return self._calls.call(f"{module}:{name}", written_order(order, rows), self._bounds)
        except OSError as error:
            said = "No process could be started for the mathematics of a study."
            raise UnavailableError("study_math_unavailable", said) from error
        except BoundError as error:
            if error.bound is Bound.LOST:
                said = "The process that calculated for a study was lost."
                raise UnavailableError("study_math_unavailable", said) from error
            seconds, memory_mb = self._bounds.seconds, self._bounds.memory_bytes >> 20
            said = (
                f"This takes more than {seconds:g} s or {memory_mb} MiB of memory to calculate; "
                "ask for fewer points, factors, columns or statistics."
            )
            raise InvalidInputError("study_too_complex", said) from error
