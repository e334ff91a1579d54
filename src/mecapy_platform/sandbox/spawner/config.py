"""What the spawner is told at start, and what one request may ask for. Both are checked strictly."""

import json
import os
import posixpath
import re
from dataclasses import dataclass, fields
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
    cpu_weight: int = 100  # beside others, where CPU is short


def limits_to_ask(limits: object) -> dict[str, float]:
    """Those of a sandbox's limits that the spawner holds, as a request names them."""
    return {field.name: getattr(limits, field.name) for field in fields(RunLimits)}


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


@dataclass(frozen=True)
class WarmRequest:
    """A warm sandbox for one organization and environment; its slots and packages are asked for later."""

    interpreter: str
    site_packages: str | None
    vetted: str | None
    tools: tuple[str, ...]
    environment: dict[str, str]  # what most calls have; each may change it
    guest: str
    memory_mb: int


@dataclass(frozen=True)
class GroupRequest:
    """A control group for a process of the owner's, whose descriptor comes along; see adopted.py."""

    memory_mb: int
    processes: int
    cpu: int


def parse_order(raw: bytes, roots: tuple[str, ...]) -> Request | WarmRequest | GroupRequest:
    """A request for one run, or, with the member `warm`, for a warm sandbox, or with `group`, for a group alone."""
    try:
        values = json.loads(raw)
        warm, group = values.pop("warm", None), values.pop("group", None)
    except (ValueError, AttributeError) as error:
        raise RequestError(f"the request cannot be read: {error}") from error
    if group is not None:
        return parse_group(group)
    return parse_request(raw, roots) if warm is None else parse_warm(warm, roots)


def parse_warm(values: Any, roots: tuple[str, ...]) -> WarmRequest:
    """Read a request for a warm sandbox as strictly as one for a run."""
    try:
        folders = {name: values.pop(name) for name in ("site_packages", "vetted")}
        request = WarmRequest(
            interpreter=checked_path(values.pop("interpreter"), roots),
            tools=tuple(checked_path(tool, roots) for tool in values.pop("tools")),
            environment=values.pop("environment"),
            guest=values.pop("guest"),
            memory_mb=values.pop("memory_mb"),
            **{name: None if folder is None else checked_path(folder, roots) for name, folder in folders.items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"the request cannot be read: {error}") from error
    _check_environment(request.environment)
    if (
        values
        or not isinstance(request.guest, str)
        or not isinstance(request.memory_mb, int)
        or not 0 < request.memory_mb < 1 << 20
    ):
        raise RequestError(
            f"members in the request that do not belong there: {', '.join(sorted(values)) or 'guest, memory_mb'}"
        )
    return request


def parse_group(values: Any) -> GroupRequest:
    try:
        request = GroupRequest(**values)
    except TypeError as error:
        raise RequestError(f"the limits of the group cannot be read: {error}") from error
    for name in GroupRequest.__dataclass_fields__:
        value = getattr(request, name)
        if type(value) is not int or not 0 < value < 1 << 20:
            raise RequestError(f"limit {name} is not a sensible number: {value!r}")
    return request


def parse_limits(values: Any) -> RunLimits:
    """The limits of a slot."""
    try:
        limits = RunLimits(**values)
    except TypeError as error:
        raise RequestError(f"the limits cannot be read: {error}") from error
    _check_limits(limits)
    return limits


def parse_request(raw: bytes, roots: tuple[str, ...]) -> Request:
    """Read a request; whatever it does not expect is an error."""
    try:
        values: dict[str, Any] = json.loads(raw)
        limits = RunLimits(**values.pop("limits"))
        tools = tuple(checked_path(tool, roots) for tool in values.pop("tools"))
        paths = {name: checked_path(values.pop(name), roots) for name in ("interpreter", "package", "inputs")}
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
        site_packages=None if site is None else checked_path(site, roots),
        tools=tools,
        environment=environment,
        guest=guest,
        limits=limits,
    )


def checked_path(value: object, roots: tuple[str, ...]) -> str:
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
