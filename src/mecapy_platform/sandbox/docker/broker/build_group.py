"""The control group above all builds: the daemon limits the memory of a build's step, and nothing else of it."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mecapy_platform.core.errors import InvalidInputError

ROOT = Path("/sys/fs/cgroup")
PROCESSES = 512
PERIOD_MICROSECONDS = 100_000
CPUS = 2
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def build_group(info: Mapping[str, Any], platform: str, named: str) -> str:
    """What the daemon is told as the parent of builds. `named`: a group, or slice, that the operator has limited.

    Raises
    ------
    InvalidInputError
        There is none, and none can be made: then nothing is built.
    """
    if named:
        return named
    if info.get("CgroupDriver") != "cgroupfs":
        raise _missing("its daemon uses systemd's groups, so a slice with limits must be named")
    name = f"mecapy-builds-{platform}"
    try:
        if (ROOT / "cgroup.controllers").exists():
            _limit(
                ROOT / name, {"pids.max": PROCESSES, "cpu.max": f"{CPUS * PERIOD_MICROSECONDS} {PERIOD_MICROSECONDS}"}
            )
        else:
            _limit(ROOT / "pids" / name, {"pids.max": PROCESSES})
            _limit(ROOT / "cpu" / name, {"cpu.cfs_quota_us": CPUS * PERIOD_MICROSECONDS})
    except OSError as error:
        raise _missing(str(error)) from error
    return f"/{name}"


def _limit(folder: Path, values: Mapping[str, object]) -> None:
    with suppress(FileExistsError):
        folder.mkdir()
    for name, value in values.items():
        (folder / name).write_text(str(value))


def _missing(why: str) -> InvalidInputError:
    return InvalidInputError(
        "build_group_missing",
        f"This node cannot limit what builds use together: {why}. The operator names a control group with limits in "
        "MECAPY_DOCKER_BUILD_CGROUP_PARENT (docs/howto/run-on-docker.md).",
    )


def check_runc(components: Mapping[str, str], least: str) -> None:
    """Refuse images of tenants on a runtime whose ways out are known."""
    found = components.get("runc", "")
    if _numbers(found) < _numbers(least):
        raise InvalidInputError(
            "runc_too_old",
            f"This node's runc is {found or 'of an unknown version'}; packages that are images need {least} or newer, "
            "which closes known ways out of a container. Where the distribution mended an older one, its operator "
            "says so with MECAPY_DOCKER_RUNC_MIN.",
        )


def _numbers(text: str) -> tuple[int, ...]:
    found = VERSION.search(text)
    return (0, 0, 0) if found is None else tuple(int(part) for part in found.groups())
