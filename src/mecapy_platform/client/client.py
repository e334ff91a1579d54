"""`Client`: the whole typed client of one platform."""

import importlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mecapy_platform.client.artifacts import Artifacts
from mecapy_platform.client.catalog import TypesCatalog
from mecapy_platform.client.checks import Checks
from mecapy_platform.client.logs import Logs
from mecapy_platform.client.packages import Packages
from mecapy_platform.client.retry import RetryPolicy
from mecapy_platform.client.tasks import Tasks
from mecapy_platform.client.tokens import StaticToken, TokenSource
from mecapy_platform.client.transport import Transport
from mecapy_platform.client.uploads import Uploads
from mecapy_platform.client.users import Users

if TYPE_CHECKING:
    from mecapy_platform.client.loading import LoadedPackage, LoadedWorkflow
    from mecapy_platform.client.runs import Runs
    from mecapy_platform.client.schedules import Schedules
    from mecapy_platform.client.studies import Studies
    from mecapy_platform.client.workflows import Workflows

LOADING = "mecapy_platform.client.loading"
# Calls that most programs never make are loaded when they are asked for.
LATE = {
    "runs": "mecapy_platform.client.runs:Runs",
    "schedules": "mecapy_platform.client.schedules:Schedules",
    "studies": "mecapy_platform.client.studies:Studies",
    "workflows": "mecapy_platform.client.workflows:Workflows",
}


class Client:
    """Calls of one platform, grouped by noun. Synchronous; errors are those of core/errors and client/errors.

    Parameters
    ----------
    url : str
        Address of the platform.
    token_source : TokenSource or str
        Where the access token comes from; a string is the token itself.
    organization : str, optional
        Slug of the organization to act in; the platform's choice when absent.
    """

    def __init__(
        self,
        url: str,
        token_source: TokenSource | str,
        *,
        organization: str | None = None,
        retry: RetryPolicy | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        source = StaticToken(token_source) if isinstance(token_source, str) else token_source
        self.transport = Transport(url, source, organization=organization, retry=retry, pause=pause)
        self.tasks = Tasks(self.transport)
        self.logs = Logs(self.transport)
        self.artifacts = Artifacts(self.transport)
        self.packages = Packages(self.transport)
        self.uploads = Uploads(self.transport)
        self.catalog = TypesCatalog(self.transport)
        self.users = Users(self.transport)
        self.checks = Checks(self.transport)

    if TYPE_CHECKING:
        runs: Runs
        schedules: Schedules
        studies: Studies
        workflows: Workflows

    else:

        def __getattr__(self, name: str) -> Any:
            if name not in LATE:
                raise AttributeError(name)
            module, _, kind = LATE[name].partition(":")
            calls = getattr(importlib.import_module(module), kind)(self.transport)
            setattr(self, name, calls)
            return calls

    @property
    def url(self) -> str:
        return self.transport.url

    def load(self, reference: str) -> "LoadedPackage | LoadedWorkflow":
        """A package's functions or a workflow as Python callables: `owner/name`, or a name of this organization."""
        found: LoadedPackage | LoadedWorkflow = importlib.import_module(LOADING).load(self.transport, reference)
        return found

    def ready(self) -> dict[str, Any]:
        return self.transport.get("/ready")

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
