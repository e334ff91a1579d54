from collections.abc import Iterator

import pytest

from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database
from support.reading_events import events_read_back


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiPlatform]:
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("api")) as running:
        yield running
        events_read_back(running.worker_database)
