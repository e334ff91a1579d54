"""The Celery application.

It carries hints ("this lane has work") and nothing else: no results, no task names, no state.
"""

from urllib.parse import parse_qs, urlsplit

from celery import Celery
from kombu.entity import Queue

from mecapy_platform.core.lanes import Lane

POKE = "mecapy.poke"


def celery_address(broker_url: str) -> str:
    """As Celery names it: redis-py's `unix://:password@/path?db=N` is its `redis+socket://:password@/path?virtual_host=N`."""
    place = urlsplit(broker_url)
    if place.scheme != "unix":
        return broker_url
    database = parse_qs(place.query).get("db", ["0"])[0]
    return f"redis+socket://{place.netloc}{place.path}?virtual_host={database}"


def make_app(broker_url: str) -> Celery:
    """Acknowledged on receipt, no result backend: a message lost or repeated changes nothing."""
    app = Celery("mecapy", broker=celery_address(broker_url), set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "priority_steps": [0],
            "health_check_interval": 10,
        },
        broker_pool_limit=2,
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        task_queues=[Queue(lane, routing_key=lane, no_ack=True) for lane in Lane],  # type: ignore[no-untyped-call]
        task_default_queue=Lane.DEFAULT,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    return app
