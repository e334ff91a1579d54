"""Results that are too large for their row: each carrier of a call stores its own, and none replaces another's."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from mecapy_platform.services.claims import Claim
from mecapy_platform.settings import Settings
from mecapy_platform.storage.filesystem import FilesystemStorage
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.judging import Judged
from mecapy_platform.worker.outputs import store_large_result


def test_a_carrier_that_comes_late_does_not_replace_what_another_has_stored_for_the_call(tmp_path: Path) -> None:
    storage = FilesystemStorage(tmp_path, base_url="", secret="x")
    context = cast(WorkerContext, SimpleNamespace(storage=storage, settings=Settings()))
    call = cast(Claim, SimpleNamespace(organization_id=uuid4(), task_id=uuid4(), number=1))

    def store(value: str) -> str:
        stored = store_large_result(context, call, judged({"text": value * 300_000}))
        assert stored is not None
        return stored.key

    kept, late = store("a"), store("b")
    assert kept != late
    with storage.open(kept) as source:
        assert json.load(source)["text"][0] == "a"


def judged(outputs: Mapping[str, Any]) -> Judged:
    return Judged(json.dumps(outputs).encode())
