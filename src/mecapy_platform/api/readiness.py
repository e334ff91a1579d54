"""Asks the parts whether they answer: once for everybody who wants to know at that moment, however many they are."""

import asyncio
import time
from collections.abc import Callable, Mapping

from anyio import to_thread

from mecapy_platform.core.errors import MecapyError

CHECK_SECONDS = 6.0
KEPT_SECONDS = 1.0
Checks = Mapping[str, Callable[[], None]]


class Readiness:
    """One for an API process, used inside its event loop."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[dict[str, str]] | None = None
        self._until = 0.0

    async def parts(self, checks: Checks) -> dict[str, str]:
        """What each part says: "ok" or what is wrong, by part."""
        if self._asking is None or (self._asking.done() and time.monotonic() >= self._until):
            self._asking = asyncio.create_task(self._ask(checks))
        return await asyncio.shield(self._asking)

    async def _ask(self, checks: Checks) -> dict[str, str]:
        found = await asyncio.gather(*(_said(check) for check in checks.values()))
        self._until = time.monotonic() + KEPT_SECONDS
        return dict(zip(checks, found, strict=True))


async def _said(check: Callable[[], None]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await to_thread.run_sync(check, abandon_on_cancel=True)
    except MecapyError as error:
        return error.message
    except Exception:  # noqa: BLE001 - whatever it is, this part does not answer; the log of the part says why
        return "does not answer"
    return "ok"
