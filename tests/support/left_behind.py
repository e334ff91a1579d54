"""What a platform has on the machine: processes, mounts, control groups and files of runs.

Compared before and after bad input.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from mecapy_platform.embedded.layout import Layout
from support.platform.running_platform import Running

CGROUPS = Path("/sys/fs/cgroup")
GUEST = "_mecapy_guest"


def traces(running: Running) -> set[str]:
    """One line for each thing that a finished run, deployment or request must not leave."""
    return {*_processes(running), *_files(running.data / "files"), *_mounts(running), *_groups(running)}


def _processes(running: Running) -> Iterator[str]:
    service = (running.data / "files").stat().st_uid
    slots = range(service + 15, service + 512) if os.geteuid() == 0 else range(0)
    ours = {process.pid for process in running.started.tree()}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            is_run = process.name() == "bwrap" or GUEST in words
            if process.status() != psutil.STATUS_ZOMBIE and (
                (process.pid in ours and is_run) or process.uids().real in slots
            ):
                yield f"process {process.pid} {words[:200]}"


def _files(files: Path) -> Iterator[str]:
    for pattern in ("work/*/*", "storage/staging/*", "cache/**/.staging-*"):
        yield from (f"file {path}" for path in files.glob(pattern))


def _mounts(running: Running) -> Iterator[str]:
    pids = [os.getpid(), *running.parts["launcher"], *running.parts["spawner"]]
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
            yield from (f"mount of {pid}: {line}" for line in lines if str(running.data) in line)


def _groups(running: Running) -> Iterator[str]:
    """Groups that hold a process of a run. Some wait ready and empty but for their supervisor, which is no run."""
    name = f"mecapy-{Layout(running.data).instance_name}"
    kinds = [CGROUPS / kind for kind in ("memory", "pids")] if (CGROUPS / "memory").is_dir() else [CGROUPS]
    for kind in kinds:
        found = [*kind.glob(name), *kind.glob(f"*/{name}"), *kind.glob(f"*/*/{name}")]
        folders = [folder for item in found for folder in item.iterdir() if folder.is_dir()]
        yield f"{len(folders)} groups below {kind}"
