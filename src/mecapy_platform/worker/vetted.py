"""Which libraries of an environment a warm sandbox loads before any call.

An environment is filled by a tenant's requirements, and a wheel may write anything into it, also over another library.
What the zygote imports must be the library alone: it is installed once more, by itself, from the same lines of the lock
to the same hashes.
"""

from functools import lru_cache

LIBRARIES = ("numpy",)  # each needs no other


@lru_cache(maxsize=256)
def vetted_lock(lock: str) -> str:
    """The lines of a lock that belong to vetted libraries, with their hashes; empty when it names none."""
    kept: list[str] = []
    is_wanted = False
    for line in lock.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            is_wanted = _name(line) in LIBRARIES
        if is_wanted:
            kept.append(line)
    return "\n".join(kept) + "\n" if kept else ""


@lru_cache(maxsize=256)
def vetted_libraries(lock: str) -> tuple[str, ...]:
    """Their names, as they are imported."""
    return tuple(_name(line) for line in vetted_lock(lock).splitlines() if not line[0].isspace())


def _name(line: str) -> str:
    return line.partition("==")[0].strip().lower()
