"""/ready: however many ask, each part is asked once."""

import asyncio
import threading

from mecapy_platform.api.readiness import Readiness
from mecapy_platform.core.errors import UnavailableError


def test_many_askers_cost_one_check_of_each_part() -> None:
    asked: list[str] = []
    may_answer, all_asked = threading.Event(), threading.Event()

    def note(name: str) -> None:
        asked.append(name)
        if len(asked) == 3:
            all_asked.set()

    def slow() -> None:
        note("slow")
        may_answer.wait(30)

    def broken() -> None:
        note("broken")
        raise UnavailableError("away", "It is away.")

    def odd() -> None:
        note("odd")
        raise OSError(2, "no such file", "/somewhere/secret")

    async def ask() -> list[dict[str, str]]:
        readiness, checks = Readiness(), {"slow": slow, "broken": broken, "odd": odd}
        asking = [asyncio.ensure_future(readiness.parts(checks)) for _ in range(100)]
        await asyncio.to_thread(all_asked.wait, 30)
        asking[0].cancel()  # who goes away takes nobody with it
        may_answer.set()
        return await asyncio.gather(*asking[1:], readiness.parts(checks))

    answers = asyncio.run(ask())
    assert answers == [{"slow": "ok", "broken": "It is away.", "odd": "does not answer"}] * 100
    assert sorted(asked) == ["broken", "odd", "slow"]
