"""A broker of this process's own, for who has none running: development, tests, `mecapy doctor`.

With the same uid it separates nothing.
"""

import sys
from dataclasses import asdict
from typing import Self

from mecapy_platform.sandbox.docker.broker.config import BrokerConfig
from mecapy_platform.sandbox.local_part import LocalPart

MODULE = "mecapy_platform.sandbox.docker.broker"


class LocalBroker(LocalPart):
    """A broker that this process started for itself."""

    @classmethod
    def start(cls, config: BrokerConfig) -> Self:
        return cls.launch("broker", [sys.executable, "-I", "-m", MODULE], asdict(config))
