"""A manifest that passed every check. Ports are kept in the published JSON form {type, description, required}."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from mecapy_platform.core.resources import Resources

PortJson = dict[str, Any]


class RuntimeKind(StrEnum):
    PYTHON = "python"
    DOCKERFILE = "dockerfile"
    IMAGE = "image"


class Visibility(StrEnum):
    PRIVATE = "private"
    INTERNAL = "internal"
    PUBLIC = "public"


@dataclass(frozen=True)
class PackageInfo:
    name: str
    version: str
    description: str | None = None
    author: str | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()
    visibility: Visibility = Visibility.PRIVATE


@dataclass(frozen=True)
class Runtime:
    """`version` and `requirements` belong to python, `dockerfile` and `context` to dockerfile, `image` to image."""

    kind: RuntimeKind
    version: str | None = None
    requirements: bool = False
    dockerfile: str | None = None
    context: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class Quality:
    on_deployment: bool = True
    fail_on_error: bool = False


@dataclass(frozen=True)
class FunctionSpec:
    """One function. `inputs` or `outputs` None: mode A, to be read from the handler's signature.

    `options` holds what the `platform:` block says for it: retries, warm, checks, build, needs, units,
    expected_seconds.
    """

    name: str
    resources: Resources
    handler: str | None = None
    entrypoint: tuple[str, ...] | None = None
    description: str | None = None
    inputs: Mapping[str, PortJson] | None = None
    outputs: Mapping[str, PortJson] | None = None
    testcases: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def io_spec(self) -> dict[str, Any] | None:
        """The published FunctionIoSpec, or None until the ports are known."""
        if self.inputs is None or self.outputs is None:
            return None
        return {"inputs": dict(self.inputs), "outputs": dict(self.outputs)}


@dataclass(frozen=True)
class Manifest:
    package: PackageInfo
    runtime: Runtime
    functions: Mapping[str, FunctionSpec]
    quality: Quality = Quality()
    platform: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON of the whole, defaults filled in."""
        whole = asdict(self)
        whole["quality"] = {"validation_testcases": whole["quality"]}
        for spec in whole["functions"].values():
            spec["entrypoint"] = None if spec["entrypoint"] is None else list(spec["entrypoint"])
        whole["package"]["tags"] = list(whole["package"]["tags"])
        return {"version": "1", **whole}
