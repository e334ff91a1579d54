"""What the Docker backend is told by the settings."""

from dataclasses import dataclass
from pathlib import Path


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
