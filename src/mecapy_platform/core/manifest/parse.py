"""Reads mecapy.yml, version "1".

All problems are told at once: YAML, schema, handler against kind, resources, types.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.manifest.document import Path, read_yaml
from mecapy_platform.core.manifest.models import (
    FunctionSpec,
    Manifest,
    PackageInfo,
    Quality,
    Runtime,
    RuntimeKind,
    Visibility,
)
from mecapy_platform.core.manifest.platform import options_of, read_platform
from mecapy_platform.core.manifest.ports import read_ports
from mecapy_platform.core.manifest.reader import Reader, Stage, dotted
from mecapy_platform.core.resources import TIERS, Resources, cap_of, resolve

KEBAB = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){0,99}")
_PART = r"(?:0|[1-9]\d{0,8})"
_PRERELEASE = rf"(?:{_PART}|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
SEMVER = re.compile(
    rf"{_PART}\.{_PART}\.{_PART}(?:-{_PRERELEASE}(?:\.{_PRERELEASE})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
HANDLER = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")
FUNCTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
LICENSE = re.compile(r"[A-Za-z0-9.+() -]{1,100}")
IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:-]{0,254}(?:@sha256:[0-9a-f]{64})?")
PYTHON_VERSIONS = ("3.10", "3.11", "3.12", "3.13")
MAX_FUNCTIONS = 200
MAX_PROBLEMS = 100

PACKAGE_KEYS = ("name", "version", "description", "author", "license", "tags", "visibility", "resources")
RUNTIME_KEYS = {
    "python": ("kind", "version", "requirements"),
    "dockerfile": ("kind", "dockerfile", "context"),
    "image": ("kind", "image"),
}
RUNTIME_REQUIRED = {"python": ("version",), "dockerfile": ("dockerfile",), "image": ("image",)}
FUNCTION_KEYS = ("handler", "entrypoint", "description", "inputs", "outputs", "resources", "testcases")
RESOURCE_KEYS = ("tier", "cpu", "memory_mb", "timeout")


def parse_manifest(text: bytes, *, tier_cap: str = "large") -> Manifest:
    """Parse a manifest.

    Raises MalformedError("manifest_unreadable") when it is no YAML or uses what is not allowed,
    InvalidInputError("manifest_invalid") with every problem otherwise. `tier_cap` is the organization's: see
    resources.cap_of.
    """
    document = read_yaml(text)
    reader = Reader(document)
    for path, line in document.duplicates:
        reader.problem_at(dotted(path), line, "duplicate_key", f"{dotted(path)} stands there twice.", Stage.YAML)
    manifest = _manifest(reader, document.value, cap_of(tier_cap))
    problems = reader.problems
    if problems or manifest is None:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        if len(problems) > MAX_PROBLEMS:
            more = Problem("", "more_problems", f"{len(problems) - MAX_PROBLEMS} more problems are not listed.")
            problems = [*problems[:MAX_PROBLEMS], more]
        raise InvalidInputError("manifest_invalid", f"mecapy.yml has {count}.", problems=problems)
    return manifest


def _manifest(reader: Reader, value: object, cap: Resources | None) -> Manifest | None:
    if not isinstance(value, Mapping):
        reader.wrong((), value, "a mapping with version, package, runtime and functions")
        return None
    for key in ("version", "package", "runtime", "functions"):
        if key not in value:
            reader.problem((key,), "missing_key", f"{key} is required.")
    reader.choice(value, "version", (), ("1",), number_as_text=True)
    package_resources: dict[str, Any] = {}
    package = runtime = None
    if (
        "package" in value
        and (block := reader.block(value["package"], ("package",), PACKAGE_KEYS, ("name", "version"))) is not None
    ):
        package = _package(reader, block)
        package_resources = _resources(reader, block, ("package",))
    if "runtime" in value:
        runtime = _runtime(reader, value["runtime"])
    quality = _quality(reader, value["quality"]) if "quality" in value else Quality()
    names = list(value["functions"]) if isinstance(value.get("functions"), Mapping) else []
    platform = read_platform(reader, value["platform"], names) if "platform" in value else {}
    functions: dict[str, FunctionSpec] = {}
    if "functions" in value:
        functions = _functions(reader, value["functions"], runtime, package_resources, platform, cap)
    if package is None or runtime is None:
        return None
    return Manifest(package, runtime, functions, quality, platform)


def _package(reader: Reader, block: Mapping[str, Any]) -> PackageInfo:
    path: Path = ("package",)
    name = reader.text(block, "name", path, pattern=KEBAB, what="kebab-case, such as bolt-sizing", limit=100)
    version = reader.text(
        block, "version", path, pattern=SEMVER, what="SemVer, such as 1.2.0", limit=100, number_as_text=True
    )
    return PackageInfo(
        name=name or "",
        version=version or "",
        description=reader.text(block, "description", path, limit=4000),
        author=reader.text(block, "author", path),
        license=reader.text(block, "license", path, pattern=LICENSE, what="an SPDX expression, such as Apache-2.0"),
        tags=reader.texts(block, "tags", path, what="a list of texts") or (),
        visibility=Visibility(reader.choice(block, "visibility", path, tuple(Visibility)) or Visibility.PRIVATE),
    )


def _runtime(reader: Reader, value: object) -> Runtime | None:
    path: Path = ("runtime",)
    whole = reader.mapping(value, path, "a mapping with kind")
    if whole is None:
        return None
    if "kind" not in whole:
        reader.problem((*path, "kind"), "missing_key", f"runtime.kind is required: {', '.join(RuntimeKind)}.")
        return None
    kind = reader.choice(whole, "kind", path, tuple(RuntimeKind))
    if kind is None:
        return None
    block = reader.block(whole, path, RUNTIME_KEYS[kind], RUNTIME_REQUIRED[kind])
    assert block is not None
    return Runtime(
        RuntimeKind(kind),
        version=reader.choice(block, "version", path, PYTHON_VERSIONS, number_as_text=True),
        requirements=reader.flag(block, "requirements", path, default=False),
        dockerfile=_inside(reader, block, "dockerfile", path),
        context=_inside(reader, block, "context", path) or ("." if kind == RuntimeKind.DOCKERFILE else None),
        image=reader.text(block, "image", path, pattern=IMAGE, what="an image such as registry/name:tag", limit=400),
    )


def _quality(reader: Reader, value: object) -> Quality:
    path: Path = ("quality",)
    block = reader.block(value, path, ("validation_testcases",))
    if not block or "validation_testcases" not in block:
        return Quality()
    path = (*path, "validation_testcases")
    inner = reader.block(block["validation_testcases"], path, ("on_deployment", "fail_on_error")) or {}
    return Quality(
        reader.flag(inner, "on_deployment", path, default=True),
        reader.flag(inner, "fail_on_error", path, default=False),
    )


def _functions(
    reader: Reader,
    value: object,
    runtime: Runtime | None,
    package: Mapping[str, Any],
    platform: Mapping[str, Any],
    cap: Resources | None,
) -> dict[str, FunctionSpec]:
    path: Path = ("functions",)
    block = reader.mapping(value, path, "a mapping of function names to functions")
    if block is None:
        return {}
    if not 1 <= len(block) <= MAX_FUNCTIONS:
        reader.problem(path, "out_of_range", f"functions must have 1 to {MAX_FUNCTIONS} entries.")
        return {}
    found = {}
    for name, written in block.items():
        here = (*path, name)
        if not FUNCTION_NAME.fullmatch(name):
            reader.problem(
                here, "bad_name", f"{name[:80]!r} is no function name; use letters, digits, - and _, at most 64."
            )
        inner = reader.block(written, here, FUNCTION_KEYS)
        if inner is not None:
            found[name] = _function(reader, name, inner, runtime, package, options_of(platform, name), cap)
    return found


def _function(
    reader: Reader,
    name: str,
    block: Mapping[str, Any],
    runtime: Runtime | None,
    package: Mapping[str, Any],
    options: Mapping[str, Any],
    cap: Resources | None,
) -> FunctionSpec:
    path: Path = ("functions", name)
    if runtime is not None:
        _check_kind(reader, block, path, runtime.kind)
    own = _resources(reader, block, path)
    resources = resolve(package, own)
    _check_cap(reader, resources, own, path, cap)
    return FunctionSpec(
        name=name,
        resources=resources,
        handler=reader.text(block, "handler", path, pattern=HANDLER, what="module:function, such as bolts:size"),
        entrypoint=reader.texts(block, "entrypoint", path, what="a list of texts (argv)", least=1),
        description=reader.text(block, "description", path, limit=4000),
        inputs=read_ports(reader, block["inputs"], (*path, "inputs"), is_output=False) if "inputs" in block else None,
        outputs=read_ports(reader, block["outputs"], (*path, "outputs"), is_output=True)
        if "outputs" in block
        else None,
        testcases=_inside(reader, block, "testcases", path),
        options=options,
    )


def _check_kind(reader: Reader, block: Mapping[str, Any], path: Path, kind: RuntimeKind) -> None:
    wanted, other = ("handler", "entrypoint") if kind is RuntimeKind.PYTHON else ("entrypoint", "handler")
    if wanted not in block:
        reader.problem((*path, wanted), f"{wanted}_missing", f"runtime kind {kind} needs {wanted}.", Stage.KIND)
    if other in block:
        reader.problem(
            (*path, other), f"{other}_not_allowed", f"runtime kind {kind} takes {wanted}, not {other}.", Stage.KIND
        )
    for key in ("inputs", "outputs"):
        if kind is not RuntimeKind.PYTHON and key not in block:
            message = f"{key} must be declared with runtime kind {kind}: there is no signature to read."
            reader.problem((*path, key), "ports_missing", message, Stage.KIND)


def _resources(reader: Reader, block: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if "resources" not in block:
        return {}
    path = (*path, "resources")
    inner = reader.block(block["resources"], path, RESOURCE_KEYS)
    if inner is None:
        return {}
    if "tier" in inner and ("cpu" in inner or "memory_mb" in inner):
        reader.problem(path, "tier_and_explicit", "write either tier, or cpu and memory_mb, never both.")
    read = {
        "tier": reader.choice(inner, "tier", path, tuple(TIERS)),
        "cpu": reader.number(inner, "cpu", path, least=1, most=1024),
        "memory_mb": reader.number(inner, "memory_mb", path, least=16, most=1 << 24),
        "timeout": reader.number(inner, "timeout", path, least=1, most=366 * 86400),
    }
    return {key: value for key, value in read.items() if value is not None}


def _check_cap(reader: Reader, resources: Resources, own: Mapping[str, Any], path: Path, cap: Resources | None) -> None:
    if cap is None:
        return
    for key, name in (("cpu", "cpu"), ("memory_mb", "memory_mb"), ("timeout_seconds", "timeout")):
        value, most = resources.as_dict()[key], cap.as_dict()[key]
        if value <= most:
            continue
        is_own = name in own or ("tier" in own and name != "timeout")
        message = f"{name} is {value}, your organization allows {most}; ask for less, or ask an administrator."
        if not is_own:
            message = f"{message} It comes from package.resources."
        reader.problem((*path, "resources", name), "above_cap", message, Stage.RESOURCES)


def _inside(reader: Reader, block: Mapping[str, Any], key: str, path: Path) -> str | None:
    """A relative path that stays inside the package."""
    text = reader.text(block, key, path, what="a path inside the package", limit=500)
    if text is None:
        return None
    pure = PurePosixPath(text)
    if not text or pure.is_absolute() or ".." in pure.parts or "\\" in text or ":" in text:
        reader.problem(
            (*path, key), "bad_path", f"{text[:80]!r} is no path inside the package; write it relative, with /."
        )
        return None
    return text
