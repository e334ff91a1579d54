"""What the broker is told at start, and the checks on what one request may name."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.sandbox.base import Environment, Limits, Mode, SandboxSpec
from mecapy_platform.sandbox.docker.options import ImagePolicy

CONTAINER = re.compile("[0-9a-f]{64}")
LARGEST = 1 << 50
TEXTS = ("task_id", "organization", "version")
OPTIONAL_TEXTS = ("handler", "image")
LISTS = ("entrypoint", "needs", "required_files", "optional_files")
FLAGS = ("keep",)
PATHS = ("package", "inputs")


@dataclass(frozen=True)
class BrokerConfig:
    """`roots`: folders below which a request may name paths. `owner_uid`: the only user, beside root, that may ask."""

    owner_uid: int
    roots: tuple[str, ...]
    host: str = "unix:///var/run/docker.sock"
    platform: str = "local"  # the label of what is ours
    runtime: str = ""
    first_uid: int = 1_950_000_000
    uids: int = 100_000_000
    builds_under_default_filter: bool = False
    images: ImagePolicy = field(default_factory=ImagePolicy)
    used_images: str = ""  # folder that notes when an image was used last; empty: none is collected

    @classmethod
    def from_json(cls, text: str) -> "BrokerConfig":
        values = json.loads(text)
        values["roots"] = tuple(os.path.realpath(root) for root in values["roots"])
        own: dict[str, Any] = {
            name: tuple(item) if isinstance(item, list) else item for name, item in values.pop("images", {}).items()
        }
        return cls(**values, images=ImagePolicy(**own))

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    def path(self, value: object) -> Path:
        """A path of the request, made real; it lies below a root."""
        if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
            raise refused(f"not an absolute path: {value!r}")
        real = os.path.realpath(value)
        if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in self.roots):
            raise refused(f"{value} lies outside the folders that this broker may show to a container")
        if not Path(real).exists():
            raise refused(f"{value} does not exist")
        return Path(real)

    def uid(self, value: object) -> int:
        uid = number(value, "uid")
        if not self.first_uid <= uid < self.first_uid + self.uids:
            raise refused(f"uid {uid} is not one of a container")
        return uid

    def folder(self, value: object, name: str) -> Path:
        """The folder of one container, which has its name."""
        folder = self.path(value)
        if folder.name != name or not re.fullmatch(f"mecapy-{re.escape(self.platform)}-[0-9a-f]{{16}}", name):
            raise refused(f"{name!r} is no name of a container of this platform")
        return folder


def refused(why: str) -> SandboxError:
    return SandboxError("broker_refused", f"The broker of the Docker daemon refuses the request: {why}.")


def number(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LARGEST:
        raise refused(f"{name} is no sensible number: {value!r}")
    return value


def text(value: object, name: str, *, most: int = 4096) -> str:
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise refused(f"{name} is no plain text")
    return value


def flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise refused(f"{name} is neither true nor false")
    return value


def container_id(value: object) -> str:
    if not isinstance(value, str) or not CONTAINER.fullmatch(value):
        raise refused("no id of a container")
    return value


def read_limits(value: object) -> Limits:
    names = {item.name for item in fields(Limits)}
    if not isinstance(value, dict) or set(value) != names:
        raise refused("the limits are not complete")
    for name, given in value.items():
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < LARGEST:
            raise refused(f"limit {name} is no sensible number: {given!r}")
    return Limits(**value)


def read_spec(value: object, config: BrokerConfig) -> SandboxSpec:
    """What is to run, from a request. Whatever is not expected is an error."""
    if not isinstance(value, dict):
        raise refused("the run is no object")
    left = dict(value)
    try:
        given: dict[str, Any] = {name: text(left.pop(name), name) for name in TEXTS}
        given |= {name: _optional_text(left.pop(name), name) for name in OPTIONAL_TEXTS}
        given |= {name: _texts(left.pop(name), name) for name in LISTS}
        given |= {name: flag(left.pop(name), name) for name in FLAGS}
        given |= {name: config.path(left.pop(name)) for name in PATHS}
        given |= {"attempt": number(left.pop("attempt"), "attempt"), "limits": read_limits(left.pop("limits"))}
        given["mode"] = _mode(left.pop("mode"))
        interpreter, site = left.pop("interpreter"), left.pop("site_packages")
    except KeyError as error:
        raise refused(f"the run lacks {error}") from error
    if left:
        raise refused(f"unknown members of the run: {', '.join(sorted(map(str, left)))}")
    if interpreter is not None:
        given["environment"] = Environment(config.path(interpreter), None if site is None else config.path(site))
    return SandboxSpec(**given)


def spec_as_request(spec: SandboxSpec) -> Mapping[str, object]:
    """What `read_spec` reads."""
    environment = spec.environment
    site = None if environment is None else environment.site_packages
    return {
        **{name: getattr(spec, name) for name in (*TEXTS, *OPTIONAL_TEXTS, *FLAGS, "mode", "attempt")},
        **{name: list(getattr(spec, name)) for name in LISTS},
        **{name: str(getattr(spec, name).absolute()) for name in PATHS},
        "limits": asdict(spec.limits),
        "interpreter": None if environment is None else os.path.realpath(environment.interpreter),
        "site_packages": None if site is None else str(site.absolute()),
    }


def _mode(value: object) -> Mode:
    if value not in set(Mode):
        raise refused(f"{value!r} is no mode of a run")
    return Mode(str(value))


def _optional_text(value: object, name: str) -> str | None:
    return None if value is None else text(value, name)


def _texts(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 1000:
        raise refused(f"{name} is no list")
    return tuple(text(item, name, most=65536) for item in value)
