"""What the API is made of; bootstrap fills it, every request finds it on the application."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mecapy_platform.api.readiness import Readiness
from mecapy_platform.db.session import Database
from mecapy_platform.events.doorbell import Doorbell
from mecapy_platform.settings import Settings
from mecapy_platform.storage.base import Storage

ARCHIVES_AT_ONCE = 1  # reading one is Python's work, which threads do not share


@dataclass(frozen=True)
class ApiContext:
    """`hints` is called after a commit that made work, with the lanes it is in (none: any); it never raises.

    `checks` are the parts that `/ready` asks. `readers` lets one archive be read at a time, so that many cost no more
    memory than one.
    """

    settings: Settings
    database: Database
    storage: Storage
    doorbell: Doorbell
    hints: Callable[..., None]
    checks: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    readiness: Readiness = field(default_factory=Readiness)
    readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ARCHIVES_AT_ONCE))
