"""Compiles a package's modules, in the sandbox and without running them, so that calls need not.

Standard library alone.

The result is laid out as Python looks for it, below out/artifacts. It is marked as not to be compared with the source:
a package never changes.
"""

from __future__ import annotations

import os

PACKAGE = "/package"
TARGET = "/workspace/out/artifacts"
MAX_FILES = 1500
MAX_SOURCE_BYTES = 1 << 20


def compile_package() -> int:
    """Write what compiles; what does not is left to the import, which says why.

    Gives how many modules were compiled.
    """
    import py_compile
    from importlib.util import cache_from_source

    count = 0
    for folder, folders, names in os.walk(PACKAGE):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in sorted(names):
            source = os.path.join(folder, name)
            if not name.endswith(".py") or count >= MAX_FILES or os.path.getsize(source) > MAX_SOURCE_BYTES:
                continue
            target = TARGET + cache_from_source(source)[len(PACKAGE) :]
            try:
                py_compile.compile(
                    source,
                    target,
                    source,
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
                count += 1
            except (py_compile.PyCompileError, OSError, ValueError, RecursionError, MemoryError):
                continue
    return count
