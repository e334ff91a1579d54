"""Reads our own top-level block `platform:`, for the package and below `functions` for one function."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mecapy_platform.core.manifest.document import Path
from mecapy_platform.core.manifest.reader import Reader
from mecapy_platform.core.unit_systems import UnitSystem

OPTION_KEYS = ("retries", "warm", "checks", "build", "needs", "units", "expected_seconds", "reuse")
MOST_REUSE = 100_000  # calls of one process
RETRY_KINDS = ("user_error", "out_of_memory", "timeout")
TOOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def read_platform(reader: Reader, value: object, names: Sequence[str]) -> dict[str, Any]:
    """The block with only what it says; `functions` in it must exist in the manifest."""
    path: Path = ("platform",)
    block = reader.block(value, path, (*OPTION_KEYS, "functions"))
    if block is None:
        return {}
    options = _options(reader, block, path)
    if "functions" not in block:
        return options
    inner_path = (*path, "functions")
    inner = reader.mapping(block["functions"], inner_path, "a mapping of function names to options") or {}
    functions = {}
    for name, written in inner.items():
        here = (*inner_path, name)
        if name not in names:
            reader.problem(here, "unknown_function", f"there is no function {name[:80]!r} under functions.")
        own = reader.block(written, here, OPTION_KEYS)
        functions[name] = {} if own is None else _options(reader, own, here)
    return {**options, "functions": functions}


def options_of(platform: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What holds for one function: its own options over the package's."""
    shared = {key: value for key, value in platform.items() if key != "functions"}
    own: dict[str, Any] = platform.get("functions", {}).get(name, {})
    return shared | own


def _options(reader: Reader, block: Mapping[str, Any], path: Path) -> dict[str, Any]:
    read: dict[str, Any] = {}
    if "retries" in block:
        read["retries"] = _retries(reader, block["retries"], (*path, "retries"))
    if "warm" in block:
        read["warm"] = reader.flag(block, "warm", path, default=False)
    if (calls := reader.number(block, "reuse", path, least=1, most=MOST_REUSE)) is not None:
        read["reuse"] = calls
    for key, flag in (("checks", "restricted_python"), ("build", "network")):
        if key in block:
            inner = reader.block(block[key], (*path, key), (flag,)) or {}
            read[key] = {flag: reader.flag(inner, flag, (*path, key), default=False)}
    if "needs" in block:
        read["needs"] = _needs(reader, block, path)
    if (units := reader.choice(block, "units", path, tuple(UnitSystem))) is not None:
        read["units"] = units
    if (
        seconds := reader.number(block, "expected_seconds", path, least=0.001, most=366 * 86400, whole=False)
    ) is not None:
        read["expected_seconds"] = seconds
    return read


def _retries(reader: Reader, value: object, path: Path) -> dict[str, Any]:
    block = reader.block(value, path, ("max", "backoff_seconds", "on")) or {}
    kinds = reader.texts(block, "on", path, what=f"a list of {', '.join(RETRY_KINDS)}", least=1)
    for kind in kinds or ():
        if kind not in RETRY_KINDS:
            reader.problem((*path, "on"), "bad_value", f"{kind[:80]!r} is not one of {', '.join(RETRY_KINDS)}.")
    read = {
        "max": reader.number(block, "max", path, least=0, most=20),
        "backoff_seconds": reader.number(block, "backoff_seconds", path, least=0, most=3600, whole=False),
        "on": None if kinds is None else list(dict.fromkeys(kinds)),
    }
    return {key: value for key, value in read.items() if value is not None}


def _needs(reader: Reader, block: Mapping[str, Any], path: Path) -> list[str]:
    tools = reader.texts(block, "needs", path, what="a list of program names", most=20) or ()
    for tool in tools:
        if not TOOL.fullmatch(tool):
            reader.problem((*path, "needs"), "bad_value", f"{tool[:80]!r} is no name of a program.")
    return list(tools)
