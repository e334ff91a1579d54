"""Name of a backend -> how it is made. A new one is added here, and nowhere else."""

from collections.abc import Mapping

from mecapy_platform.sandbox.backends import BackendKind
from mecapy_platform.sandbox.bubblewrap import declared as bubblewrap
from mecapy_platform.sandbox.docker import declared as docker

DECLARED: Mapping[str, BackendKind] = {kind.name: kind for kind in (bubblewrap.KIND, docker.KIND)}
