"""What the Docker backend is told by the settings."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ImagePolicy:
    """Which images tenants may build upon and run, and what making one may cost."""

    registries: tuple[str, ...] = ()  # hosts from which images are fetched, with a port where it is not 443
    node_images: tuple[str, ...] = ("mecapy/*",)  # names of the node's own images that everybody may use
    allowed_networks: tuple[str, ...] = ()  # in which a registry may be, beside public addresses
    ca_file: str = ""  # certificates that registries are checked against; empty: the system's
    pull_bytes: int = 4 << 30
    pull_seconds: float = 600.0
    runc_min: str = "1.2.8"
    build_cgroup_parent: str = ""  # empty: one of ours, where the daemon uses cgroupfs
    unused_days: float = 30.0  # then an image of a package leaves the node
    kept_bytes: int = 100 << 30  # of such images together; above it those go that were not used for longest


@dataclass(frozen=True)
class DockerOptions:
    """`platform` and `node` name whose containers they are; others are never touched.

    `home` keeps a folder for each running container.
    """

    home: Path = Path(".mecapy/docker")
    host: str = "unix:///var/run/docker.sock"
    platform: str = "local"
    node: str = ""
    runtime: str = ""  # empty: the daemon's own; one that shares the node's kernel
    first_uid: int = 1_950_000_000  # each running container gets one of these, above what other programs hand out
    uids: int = 100_000_000
    warm: int = 0  # containers started ahead, each for one task; 0: none
    broker: str = ""  # socket of the broker that speaks with the daemon; empty: one of this process's own
    images: ImagePolicy = field(default_factory=ImagePolicy)
    builds_under_default_filter: bool = False  # also where the daemon has no profile of ours for what builds run


@dataclass(frozen=True)
class DockerWords:
    """What the operator may say: MECAPY_DOCKER_HOST and so on."""

    host: str = "unix:///var/run/docker.sock"  # told to the broker, which alone reaches it
    broker: str = ""  # its socket; `mecapy up` starts one by itself
    runtime: str = ""  # empty: the daemon's own; not runsc, see docs/security.md
    first_uid: int = 1_950_000_000  # each running container has a uid of its own, from here on
    uids: int = 100_000_000
    warm: int = 0  # containers started ahead of calls, each for one task; 0: none
    build_default_filter: bool = False  # build Dockerfiles also under the daemon's own default system call filter
    registries: str = ""  # hosts, separated by commas
    node_images: str = "mecapy/*"  # names, separated by commas
    allowed_networks: str = ""  # such as 10.1.0.0/16, separated by commas
    ca_file: str = ""
    pull_bytes: int = 4 << 30
    pull_seconds: float = 600.0
    runc_min: str = "1.2.8"
    build_cgroup_parent: str = ""
    images_unused_days: float = 30.0
    images_kept_bytes: int = 100 << 30

    def image_policy(self) -> ImagePolicy:
        return ImagePolicy(
            registries=_listed(self.registries),
            node_images=_listed(self.node_images),
            allowed_networks=_listed(self.allowed_networks),
            ca_file=self.ca_file,
            pull_bytes=self.pull_bytes,
            pull_seconds=self.pull_seconds,
            runc_min=self.runc_min,
            build_cgroup_parent=self.build_cgroup_parent,
            unused_days=self.images_unused_days,
            kept_bytes=self.images_kept_bytes,
        )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
