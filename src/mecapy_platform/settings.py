"""All settings, read once by bootstrap from MECAPY_* variables. No module reads the environment by itself."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mecapy_platform.core.queue_rules import QueueRules

MIB = 1 << 20


class Settings(BaseSettings):
    """Addresses, limits and policy of one deployment; the embedded platform fills the addresses itself."""

    model_config = SettingsConfigDict(env_prefix="MECAPY_", extra="ignore", frozen=True)

    # addresses
    database_url: str = "postgresql+psycopg:///mecapy"  # role mecapy_app: row-level security applies
    database_worker_url: str = "postgresql+psycopg:///mecapy"  # role mecapy_worker: queue, worker, relay
    database_owner_url: str = ""  # owner of the schema: migrations alone
    broker_url: str = "redis://127.0.0.1:6379/0"
    public_url: str = "http://127.0.0.1:8000"
    data_dir: Path = Path(".mecapy")
    spawner_socket: Path | None = None  # of the process that starts sandboxes; None: start them ourselves

    # identity
    issuers: tuple[str, ...] = ()  # trusted token issuers (OpenID discovery); the embedded one is added by `mecapy up`
    audience: str = "mecapy-api"
    embedded_issuer_key: Path | None = None  # public key of the embedded issuer; None with a real Keycloak
    signing_secret: SecretStr = SecretStr("")  # signs storage URLs and paging cursors

    # limits of requests
    archive_bytes: int = 50 * 1000 * 1000
    body_bytes: int = 20 * MIB
    large_body_seconds: float = 30.0  # a body above 64 KiB is read by a process of its own, which has so long ..
    large_body_memory_mb: int = 1024  # .. and so much memory
    upload_bytes: int = 1024 * MIB
    wait_seconds_max: float = 60.0
    deploy_wait_seconds: float = 60.0
    head_seconds: float = 30.0  # until the head of a request is whole
    body_patience_seconds: float = 60.0  # waiting for a body, beside what its bytes may take at the pace below
    body_bytes_per_second: int = 16 * 1024

    # limits of tasks
    tier_cap: str = "large"
    output_bytes: int = 1024 * MIB
    log_bytes: int = 10 * MIB
    judge_seconds: float = 30.0  # a result above 64 KiB is read by a process of its own, which has so long ..
    judge_memory_mb: int = 1024  # .. and so much memory
    progress_bytes: int = 4 * MIB  # of one attempt; what is above it or the lines is dropped, and said once
    progress_lines: int = 10_000
    result_bytes: int = 16 * MIB
    row_value_bytes: int = 256 * 1024  # of a task's inputs or of its result; what is larger lies in storage
    inline_output_bytes: int = 8 * MIB
    grace_seconds: float = 5.0

    # queue
    lease_seconds: float = 15.0
    heartbeat_seconds: float = 5.0
    events_kept_days: float = 30.0  # how long what happened can be read again
    sweep_seconds: float = 2.0
    max_attempts: int = 5
    durable_absence_seconds: float = 60.0  # how long a node may be away before its durable runs start again elsewhere
    retry_backoff_seconds: float = 1.0
    retry_backoff_max_seconds: float = 300.0
    long_running_max_running: int = 4
    organization_max_running: int = 50
    organization_max_queued: int = 100_000
    hint_seconds: float = 5.0

    # worker
    worker_name: str = ""  # empty: the host's name
    worker_cpu: int = 0  # 0: what the machine has
    worker_memory_mb: int = 0  # 0: three quarters of what the machine has
    cpu_overcommit: float = 2.0
    drain_seconds: float = 5.0  # how long a stopping worker lets its tasks go on
    slots: dict[str, int] = Field(default_factory=lambda: {"high_priority": 4, "default": 4, "long_running": 4})
    disk_floor_bytes: int = 512 * MIB
    sandbox_backend: str = "bubblewrap"
    sandbox_backends: dict[str, str] = Field(default_factory=dict)  # lane -> backend, where it is not the usual one
    images_backend: str = ""  # what runs packages that are images; empty: the usual backend, where it can
    platform_name: str = "local"  # marks our containers, so that two platforms on one machine never touch each other's
    backend_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict
    )  # backend -> its own options, which it reads itself; MECAPY_DOCKER_HOST is `host` of docker
    image_bytes: int = 4096 * MIB  # of one package's image
    warm_sandboxes: int = 8  # kept ready by each worker process; 0: every call starts cold
    warm_slots: int = 10  # calls at once in one of them; more than a lane has, for one that loads ahead takes no call
    warm_calls: int = 20_000  # then it is thrown away
    warm_idle_seconds: float = 300.0  # and after so long without a call
    warm_ahead_memory_mb: int = (
        0  # for workers that load a function before its call; 0: a sixteenth of what the machine has
    )
    fault_probe: Path | None = (
        None  # for fault tests alone: a directory, see worker/fault_points.py and docs/reference/faults.md
    )

    # checks of packages on deploy, see docs/reference/checks.md
    checks: dict[str, Any] = Field(default_factory=dict)  # what differs from the default policy, for every organization
    scan_seconds: float = 120.0  # for all sources of one package
    scan_memory_mb: int = 1024
    audit_service: bool = True  # ask pip-audit's service about the lock
    audit_seconds: float = 10.0  # .. and no longer than this, beside the installation of the requirements
    audit_wait_seconds: float = 2.0  # how long a deploy waits for the answer once everything else is ready
    audit_database: Path | None = None  # the offline file that is used when the service does not answer

    # packages
    package_index_url: str = "https://" + ".".join(("pypi", "org")) + "/simple"  # noqa: FLY002 - no file of the project names a registry's host
    allow_newer_python: bool = False
    build_timeout_seconds: float = 900.0
    environment_bytes: int = 8192 * MIB
    build_attempts: int = 3
    organization_max_builds: int = 2  # under way at once; other organizations' builds are not held up by it

    @property
    def queue_rules(self) -> QueueRules:
        """What services are told."""
        return QueueRules(**{field.name: getattr(self, field.name) for field in fields(QueueRules)})

    def options_of(self, backend: str) -> dict[str, Any]:
        """The operator's words for one backend, see its options record."""
        return self.backend_options.get(backend, {})

    @model_validator(mode="before")
    @classmethod
    def _take_options(cls, values: Any) -> Any:
        """MECAPY_<BACKEND>_<OPTION> of every backend that is chosen here belongs to that backend."""
        given = dict(values)
        names = {given.get("sandbox_backend"), given.get("images_backend"), *_values(given.get("sandbox_backends"))}
        options = {name: dict(own) for name, own in (given.get("backend_options") or {}).items()}
        for name in names - {None, ""}:
            prefix = f"{name}_"
            variables = {
                key.lower().removeprefix("mecapy_"): value
                for key, value in os.environ.items()
                if key.lower().startswith(f"mecapy_{prefix}")
            }
            own = {
                key.removeprefix(prefix): value
                for key, value in {**variables, **given}.items()
                if key.startswith(prefix) and key not in cls.model_fields
            }
            options[name] = own | options.get(name, {})
        return {**given, "backend_options": options}


def _values(mapping: Any) -> tuple[Any, ...]:
    return tuple(mapping.values()) if isinstance(mapping, dict) else ()
