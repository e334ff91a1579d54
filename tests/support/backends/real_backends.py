"""The backends on which real packages run, cold and warm. One more backend is one more entry."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from support.backends.docker_daemon import daemon
from support.platform.running_platform import Running, platform


@dataclass(frozen=True)
class Backend:
    """`shown_by`: a file of the guest that is loaded in the process that runs a call."""

    sandbox: str
    is_warm: bool
    shown_by: str
    is_sampled: bool = False  # `make test` makes one call of each package, `make test-long` all

    def __str__(self) -> str:
        return f"{self.sandbox}-{'warm' if self.is_warm else 'cold'}"

    @contextmanager
    def platform(self) -> Iterator[Running]:
        """A platform whose every lane uses it."""
        if self.sandbox != "docker":
            with platform({"MECAPY_SANDBOX_BACKEND": self.sandbox}) as running:
                yield running
            return
        with daemon() as engine:
            engine.directory.chmod(0o711)
            waiting = {"MECAPY_DOCKER_WARM": "8"} if self.is_warm else {}
            with platform(
                {"MECAPY_SANDBOX_BACKEND": self.sandbox, "MECAPY_DOCKER_HOST": engine.address, **waiting}
            ) as running:
                yield running


BACKENDS = (
    Backend("bubblewrap", is_warm=False, shown_by="runner.py", is_sampled=True),
    Backend("bubblewrap", is_warm=True, shown_by="call.py"),
    Backend("docker", is_warm=False, shown_by="runner.py"),
    Backend("docker", is_warm=True, shown_by="runner.py", is_sampled=True),
)
