"""What a zygote loads for its calls, and what a loaded library must be told in each of them."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # `typing` itself is not imported before it is known to be wanted
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Adapt = Callable[[Mapping[str, str]], object]

COMMON = ("json", "math", "re", "typing", "dataclasses", "enum", "collections", "functools", "itertools", "pathlib")
VETTED_FOLDER = "/vetted"
BLAS_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def preload(libraries: list[str]) -> tuple[list[str], list[Adapt]]:
    """Import what calls use again and again: (the libraries that could be, what each call must do for them).

    A library that cannot be imported is left to the calls, where it says what is wrong.
    """
    for name in COMMON:
        importlib.import_module(name)
    from _mecapy_guest import results  # noqa: F401 - loaded for the calls

    loaded: list[str] = []
    adaptations: list[Adapt] = []
    sys.path.insert(0, VETTED_FOLDER)
    for name in libraries:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - as said above
            sys.stderr.write(f"warm sandbox: {name} could not be loaded ahead: {error}\n")
            continue
        loaded.append(name)
        if name == "numpy":
            adaptations += _prepare_numpy()
    sys.path.remove(VETTED_FOLDER)
    sys.path_importer_cache.clear()
    return loaded, adaptations


def _prepare_numpy() -> list[Adapt]:
    """Its first use is over, with one thread: a fork keeps no other.

    A call gets its own random state and as many threads as its CPUs.
    """
    numpy = sys.modules["numpy"]
    numpy.dot(numpy.ones((4, 4)), numpy.ones((4, 4)))
    random = importlib.import_module("numpy.random")
    set_threads = _blas_setter()

    def adapt(environment: Mapping[str, str]) -> None:
        random.seed()
        threads = int(environment.get("OPENBLAS_NUM_THREADS", "1"))
        if threads > 1 and set_threads is not None:
            set_threads(threads)

    return [adapt]


def _blas_setter() -> Callable[[int], object] | None:
    """How the BLAS that NumPy brought is told its number of threads."""
    import ctypes
    from pathlib import Path

    for path in sorted(Path(VETTED_FOLDER, "numpy.libs").glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        for name in BLAS_SETTERS:
            if hasattr(library, name):
                setter: Callable[[int], object] = getattr(library, name)
                return setter
    return None
