"""The port to images of packages: built from a Dockerfile (mode B) or named (mode C), then kept and run by their id."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class BuildOrder:
    """A version's image to be made. `context` and `dockerfile` are real paths inside the extracted package."""

    context: Path
    dockerfile: str  # relative to the context
    owner: str  # the organization: another one's images are no base
    labels: Mapping[str, str]
    has_network: bool
    seconds: float
    image_bytes: int
    memory_mb: int = 2048


class Images(Protocol):
    """Where images are. Every error says whether the package or the machine is at fault."""

    def build(self, order: BuildOrder, say: Callable[[str], None]) -> str:
        """Make an image and give its id. Raises InvalidInputError for what is wrong with the package."""

    def obtain(self, name: str, owner: str, say: Callable[[str], None]) -> str:
        """The id of a named image: the node's own, else pulled. Raises InvalidInputError("image_unavailable")."""

    def has(self, image_id: str) -> bool:
        """Whether this node has it."""

    def save(self, image_id: str) -> BinaryIO:
        """Its archive, to be kept for other nodes."""

    def load(self, archive: BinaryIO) -> None:
        """Take an archive that `save` gave."""
