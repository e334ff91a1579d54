"""How a backend is declared, and which backends a deployment uses. No backend is known here; see registry.

A third one is a `BackendKind` in the registry's dictionary: nothing else names it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.sandbox.base import OwnedSandbox

Options = TypeVar("Options")
LANES = ("high_priority", "default", "long_running")


@dataclass(frozen=True)
class Capabilities:
    """What a kind of isolation can do, known before one is made."""

    is_durable: bool = False  # runs outlive their worker
    runs_images: bool = False  # packages that are images: modes B and C
    runs_managed: bool = True  # managed Python: mode A
    is_node_bound: bool = True  # runs use the room of the worker's own machine, else a capacity of the backend's own


@dataclass(frozen=True)
class Given:
    """What the platform tells a backend that it makes. `options`: the operator's words for this backend alone."""

    home: Path  # where it may keep files of its own
    node: str
    platform: str  # marks what is ours, so that two platforms on one machine never touch each other's
    spawner_socket: Path | None = None
    warm: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CompanionPlace:
    """Where a companion of a backend listens, for whom, and what it may show to a sandbox."""

    socket: Path
    owner_uid: int
    roots: Sequence[str]


@dataclass(frozen=True)
class Companion:
    """A process beside the workers with rights that they must not have, such as the broker of a daemon.

    `command` is its command line; workers find its socket by the backend's option `option`.
    """

    name: str
    option: str
    command: Callable[[Given, CompanionPlace], Sequence[str]]


@dataclass(frozen=True)
class BackendKind:
    """`companion`: a process that must run on the machine of its workers."""

    name: str
    capabilities: Capabilities
    make: Callable[[Given], OwnedSandbox]
    companion: Companion | None = None


@dataclass(frozen=True)
class Backends:
    """The backends of one deployment: `usual`, other ones for some lanes, and one for packages that are images.

    `options_of` gives the operator's words for a backend.
    """

    kinds: Mapping[str, BackendKind]
    usual: str
    by_lane: Mapping[str, str] = field(default_factory=dict)
    for_images: str = ""  # empty: the usual one, where it can
    options_of: Callable[[str], Mapping[str, Any]] = field(default=lambda _name: {})

    def of_lane(self, lane: str) -> BackendKind:
        """What runs managed Python in a lane."""
        return self._known(self.by_lane.get(lane, self.usual))

    @property
    def images(self) -> BackendKind | None:
        """What runs packages that are images on every worker, None where nothing does."""
        kind = self._known(self.for_images or self.usual)
        return kind if kind.capabilities.runs_images else None

    def used(self, lanes: Sequence[str] = LANES) -> Sequence[BackendKind]:
        """Every backend that workers of these lanes use, each once."""
        every = [*(self.of_lane(lane) for lane in lanes), *([self.images] if self.images is not None else [])]
        return list({kind.name: kind for kind in every}.values())

    def with_companions(self) -> Sequence[BackendKind]:
        """Those used here for which a companion must run, and for which the operator named none that runs already."""
        return [
            kind
            for kind in self.used()
            if kind.companion is not None and not self.options_of(kind.name).get(kind.companion.option)
        ]

    def _known(self, name: str) -> BackendKind:
        if name not in self.kinds:
            known = ", ".join(self.kinds)
            raise ConfigurationError("unknown_sandbox", f"There is no sandbox backend {name!r}. Known: {known}.")
        return self.kinds[name]


def read_options(kind: type[Options], backend: str, values: Mapping[str, Any]) -> Options:
    """The operator's words as a backend's own record. A word that it does not know is an error, not a silence."""
    strict: Any = validated(config=ConfigDict(extra="forbid"), frozen=True)(kind)
    try:
        return cast("Options", TypeAdapter(strict).validate_python(dict(values)))
    except ValidationError as error:
        said = "; ".join(
            f"MECAPY_{backend}_{'_'.join(map(str, item['loc']))}".upper() + f": {item['msg']}"
            for item in error.errors()
        )
        raise ConfigurationError("bad_backend_options", f"Options of the {backend} sandbox: {said}.") from error
