"""What the spawner is told at start, and what one request may ask for. Both are checked strictly."""

import json
import os
import posixpath
import re
from dataclasses import dataclass
from typing import Any

MAX_REQUEST_BYTES = 1 << 20
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class RequestError(ValueError):
    """The request asks for something this spawner does not do; its message goes back to the worker."""


@dataclass(frozen=True)
class SpawnerConfig:
    """`roots`: folders below which a request may name paths. `owner_uid`: the only user (beside root) that may ask."""

    directory: str
    bwrap: str
    owner_uid: int
    roots: tuple[str, ...]
    slot_uid_base: int = 210_000
    slots: int = 512
    idle: int = 2
    name: str = "local"

    @classmethod
    def from_json(cls, text: str) -> "SpawnerConfig":
        values = json.loads(text)
        values["roots"] = tuple(os.path.realpath(root) for root in values["roots"])
        return cls(**values)


@dataclass(frozen=True)
class RunLimits:
    cpu: int
    memory_mb: int
    timeout_seconds: float
    grace_seconds: float
    disk_bytes: int
    disk_files: int
    processes: int
    open_files: int


@dataclass(frozen=True)
class Request:
    """One run, as asked by the worker. Every path is real (no link in it) and lies below an allowed root."""

    interpreter: str
    package: str
    inputs: str
    site_packages: str | None
    tools: tuple[str, ...]
    environment: dict[str, str]
    guest: str
    limits: RunLimits


def parse_request(raw: bytes, roots: tuple[str, ...]) -> Request:
    """Read a request; whatever it does not expect is an error."""
    try:
        values: dict[str, Any] = json.loads(raw)
        limits = RunLimits(**values.pop("limits"))
        tools = tuple(_path(tool, roots) for tool in values.pop("tools"))
        paths = {name: _path(values.pop(name), roots) for name in ("interpreter", "package", "inputs")}
        site = values.pop("site_packages")
        environment = values.pop("environment")
        guest = values.pop("guest")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"the request cannot be read: {error}") from error
    if values or not isinstance(guest, str):
        raise RequestError(f"unknown members in the request: {', '.join(sorted(values))}")
    _check_limits(limits)
    _check_environment(environment)
    return Request(
        **paths,
        site_packages=None if site is None else _path(site, roots),
        tools=tools,
        environment=environment,
        guest=guest,
        limits=limits,
    )


def _path(value: object, roots: tuple[str, ...]) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise RequestError(f"not an absolute path: {value!r}")
    real = posixpath.realpath(value)
    if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots):
        raise RequestError(f"the path lies outside the folders this spawner may show to a sandbox: {value}")
    if not os.path.exists(real):  # noqa: PTH110 - strings throughout, see system.py
        raise RequestError(f"the path does not exist: {value}")
    return real


def _check_limits(limits: RunLimits) -> None:
    for name in RunLimits.__dataclass_fields__:
        value = getattr(limits, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 50:
            raise RequestError(f"limit {name} is not a sensible number: {value!r}")


def _check_environment(environment: object) -> None:
    if not isinstance(environment, dict):
        raise RequestError("environment is not an object")
    for name, value in environment.items():
        if not _NAME.fullmatch(name) or not isinstance(value, str) or "\0" in value or name.startswith("LD_"):
            raise RequestError(f"environment variable not allowed: {name!r}")
