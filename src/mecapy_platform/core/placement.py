"""Where a task may run: the one rule that says why a worker may not have it. Pure.

Submit, "why is it waiting", claims, builds and retries all ask here, so that nothing is accepted that no worker could
ever run, and nothing is claimed where it cannot.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGE = "image"  # the ability to run packages that are images: modes B and C
CONTAINERS = "docker"  # how functions deployed by earlier versions name that need
CALLS = "calls"  # the ability to run tasks that carry calls
PYTHON = "python"  # .. followed by the minor version: the ability to run that interpreter


@dataclass(frozen=True)
class Needs:
    """What a task or a build asks of a worker. `abilities`: tools (`ccx`), interpreters (`python3.11`), `image`."""

    cpu: float = 0.0
    memory_mb: int = 0
    abilities: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Place:
    """One worker process and all that its node has, in use or not.

    `away`: those of its abilities that it lacks just now. `refusal`: why it takes no work just now. `lane`: the only
    one that it serves, None for several.
    """

    cpu: float
    memory_mb: int
    abilities: frozenset[str] = field(default_factory=frozenset)
    away: frozenset[str] = field(default_factory=frozenset)
    refusal: str | None = None
    lane: str | None = None


@dataclass(frozen=True)
class Misfit:
    """Why a place may not run something: a stable code and a sentence for the person who waits."""

    code: str
    message: str


def python_ability(runtime: str) -> str:
    """`runtime` is a minor version or a full one: "3.11", "3.11.7"."""
    return PYTHON + ".".join(runtime.split(".")[:2])


def abilities_of(options: Mapping[str, Any], *, runtime: str | None = None, is_image: bool = False) -> frozenset[str]:
    """What a function asks of a worker beyond room. `runtime`: of a package that is no image, where it matters."""
    tools = {IMAGE if need == CONTAINERS else str(need) for need in options.get("needs") or ()}
    interpreter = {python_ability(runtime)} if runtime and not is_image else set()
    return frozenset(tools | interpreter | ({IMAGE} if is_image else set()))


def misfit(needs: Needs, place: Place) -> Misfit | None:
    """Why this place can never run it, as it is equipped now; None when it can, sooner or later."""
    missing = _lacking(needs, place)
    if missing:
        return _missing(missing, place.abilities)
    if needs.cpu > place.cpu or needs.memory_mb > place.memory_mb:
        return _too_large(needs, place)
    return None


def refusal_now(needs: Needs, places: Collection[Place], lane: str) -> str | None:
    """Why none of those that could run it takes it just now; None when one does."""
    able = [place for place in places if place.lane in {None, lane} and misfit(needs, place) is None]
    if not able:
        return f"no worker serves the lane {lane}"
    refusals = [_refusal(needs, place) for place in able]
    return None if None in refusals else refusals[0]


def _refusal(needs: Needs, place: Place) -> str | None:
    away = needs.abilities & place.away
    return place.refusal or (f"what runs {', '.join(sorted(away))} is away" if away else None)


def misfit_everywhere(needs: Needs, places: Collection[Place]) -> Misfit | None:
    """Why none of these can run it; None when one can, or when none is known."""
    if not places or any(misfit(needs, place) is None for place in places):
        return None
    equipped = [place for place in places if not _lacking(needs, place)]
    if equipped:
        return _too_large(needs, max(equipped, key=lambda place: (place.memory_mb, place.cpu)))
    known = frozenset().union(*(place.abilities for place in places))
    unknown = _lacking(needs, Place(0.0, 0, known))
    return _missing(unknown or _lacking(needs, Place(0.0, 0)), known, is_together=not unknown)


def _lacking(needs: Needs, place: Place) -> frozenset[str]:
    """A worker of an earlier version names no interpreters: it may have any."""
    missing = needs.abilities - place.abilities
    if any(_is_interpreter(ability) for ability in place.abilities):
        return missing
    return frozenset(ability for ability in missing if not _is_interpreter(ability))


def _missing(missing: Iterable[str], known: Collection[str], *, is_together: bool = False) -> Misfit:
    names = sorted(missing)
    interpreters = [name.removeprefix(PYTHON) for name in names if _is_interpreter(name)]
    if interpreters and len(interpreters) == len(names):
        have = ", ".join(sorted(name.removeprefix(PYTHON) for name in known if _is_interpreter(name))) or "none"
        return Misfit(
            "interpreter_missing",
            f"It needs Python {', '.join(interpreters)}, which no worker has (interpreters of the workers: {have}).",
        )
    if names == [IMAGE]:
        return Misfit("images_unsupported", "It is an image, and no worker has a Docker daemon to run it.")
    wanted = (" together with " if is_together else ", ").join(names)
    tools = ", ".join(sorted(name for name in known if not _is_interpreter(name) and name != IMAGE)) or "none"
    return Misfit("tool_missing", f"It needs {wanted}, which no worker has (tools of the workers: {tools}).")


def _too_large(needs: Needs, largest: Place) -> Misfit:
    return Misfit(
        "never_fits",
        f"It needs {needs.cpu:g} CPU and {needs.memory_mb} MiB; the largest worker has {largest.cpu:g} CPU and "
        f"{largest.memory_mb} MiB.",
    )


def _is_interpreter(name: str) -> bool:
    return name.startswith(PYTHON) and name.removeprefix(PYTHON)[:1].isdigit()
