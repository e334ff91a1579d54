"""What an operator decides about the queue: all that services need to know of the settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QueueRules:
    """Times in seconds. A limit on an organization holds where it has none of its own. Named as in the settings."""

    lease_seconds: float  # an attempt or a build that is not renewed for so long is lost
    max_attempts: int
    durable_absence_seconds: float
    retry_backoff_max_seconds: float
    long_running_max_running: int
    organization_max_running: int
    organization_max_queued: int
    build_attempts: int
    organization_max_builds: int
    events_kept_days: float
