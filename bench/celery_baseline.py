"""The baseline: raw Celery prefork, results in Valkey, no isolation, no PostgreSQL, no API.

Settings tuned as printed.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery

from mecapy_platform.embedded.users import User
from mecapy_platform.embedded.valkey import Valkey, ValkeyPlace

SETTINGS = (
    "prefork, concurrency 2, prefetch 4, acknowledged early, no events, gossip, mingle or heartbeat, JSON, "
    "results in Valkey"
)


def make_app(url: str) -> Celery:
    app = Celery("baseline", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        worker_prefetch_multiplier=4,
        task_acks_late=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        result_expires=600,
    )

    def answer(nonce: int) -> dict[str, Any]:
        return {"answer": nonce * 3 + 1}

    app.task(name="answer")(answer)
    return app


@contextmanager
def celery_worker() -> Iterator[tuple[Celery, int]]:
    """A client application and the pid of the worker's main process."""
    user = User("nobody", 65534) if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="mecapy-baseline-") as folder:
        Path(folder).chmod(0o755)
        data = Path(folder, "valkey")
        data.mkdir()
        if user is not None:
            user.own(data)
        server = Valkey(ValkeyPlace(data, Path(folder, "valkey.log"), user), "benchmark")
        server.start()
        command = [sys.executable, "-m", "bench.celery_baseline", server.url]
        worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        app = make_app(server.url)
        try:
            for _ in range(200):
                if app.send_task("answer", (1,)).get(timeout=30)["answer"] == 4:
                    break
                threading.Event().wait(0.05)
            yield app, worker.pid
        finally:
            worker.terminate()
            worker.wait(30)
            server.stop()


if __name__ == "__main__":
    make_app(sys.argv[1]).Worker(
        pool="prefork",
        concurrency=2,
        loglevel="ERROR",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    ).start()
