"""Negative controls: with one layer taken out of a throw-away sandbox, a case of the suite reports an escape.

None holds by accident.

The throw-away sandbox runs inside namespaces of the test's own, so that what escapes meets nothing of the host.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from security.throw_away import ABSTRACT, HOST, PORT, made_folder

SCRIPT = Path(__file__).with_name("throw_away.py")
OUTER = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc", "--uts")
WORLD = {
    "kind": "batch",
    "hostname": HOST,
    "listening": [PORT],
    "abstract": [ABSTRACT],
    "names_of_others": [],
    "paths": [],
    "disk_mb": 16,
    "fill_mb": 32,
    "disk_files": 2000,
    "hold_mb": 200,
    "namespaces": {},
}
LAYERS = [
    ("system call filter", "kernel_surface:io_uring"),
    ("system call filter", "kernel_surface:keyrings"),
    ("system call filter", "kernel_surface:rare_socket_families"),
    ("system call filter", "kernel_surface:notices_of_others"),
    ("system call filter", "kernel_surface:personality"),
    ("system call filter", "kernel_surface:disks_are_not_flushed"),
    ("system call filter and end of user namespaces", "kernel_surface:new_namespaces"),
    ("Landlock", "file_system:makes_devices"),
    ("Landlock", "other_processes:signals_to_init"),
    ("hidden init and Landlock", "secrets_of_others:memory_of_init"),
    ("PID namespace", "other_processes:sees_only_its_own"),
    ("network namespace", "network:loopback_of_the_host"),
    ("IPC namespace", "residue:kernel_objects"),
    ("UTS namespace", "secrets_of_others:names_of_the_host"),
    ("cgroup namespace", "secrets_of_others:control_groups_tell_nothing"),
    ("read-only root", "file_system:flags_of_all_mounts"),
    ("read-only package", "file_system:flags_of_all_mounts"),
    ("root of listed folders", "secrets_of_others:usual_places_of_secrets"),
    ("devices of its own", "file_system:only_harmless_devices"),
    ("covers of /proc", "secrets_of_others:activity_of_others"),
    ("covers of /proc", "secrets_of_others:memory_and_uptime_of_the_machine"),
    ("no capabilities", "other_processes:becomes_another_user"),
    ("not root inside", "other_processes:becomes_another_user"),
    ("empty environment", "secrets_of_others:environment_holds_no_secret"),
    ("closed descriptors", "descriptors:inherits_nothing"),
    ("memory limit", "resources:memory"),
    ("process limit", "resources:zombies"),
    ("disk limit", "resources:bytes_on_disk"),
    ("disk limit", "resources:inodes"),
    ("limit of open files", "resources:open_files"),
    ("limit of locked memory", "resources:locked_memory"),
    ("limit of message queues and Landlock", "resources:message_queues"),
    ("limit of queued signals", "resources:timers"),
]
NEEDS_GROUPS = {"cgroup namespace", "memory limit", "process limit"}
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="makes namespaces and becomes another user"
)


def run(removed: str, cases: list[str]) -> dict[str, list[dict[str, Any]]]:
    folder = made_folder()
    order = {"removed": removed, "cases": cases, "world": WORLD, "folder": str(folder)}
    try:
        done = subprocess.run(
            [*OUTER, sys.executable, SCRIPT, json.dumps(order)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            cwd="/",
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout)
    assert answer["reports"], (answer, done.stderr[-3000:])
    reports: dict[str, list[dict[str, Any]]] = answer["reports"]
    return reports


def escapes(tries: list[dict[str, Any]]) -> list[str]:
    return [f"{item['what']}: {item['answer']}" for item in tries if item["escaped"]]


@pytest.fixture(scope="module")
def whole() -> dict[str, list[dict[str, Any]]]:
    """Every case of this page with nothing taken out."""
    return run("nothing", sorted({case for _layer, case in LAYERS}))


@pytest.mark.parametrize(("layer", "case"), LAYERS, ids=[f"{layer}-{case}" for layer, case in LAYERS])
def test_a_missing_layer_is_noticed(whole: dict[str, list[dict[str, Any]]], layer: str, case: str) -> None:
    assert whole[case]
    assert escapes(whole[case]) == [], "the throw-away sandbox must hold as long as nothing is taken out of it"
    found = run(layer, [case])
    assert escapes(found[case]), found[case]


def test_without_the_filter_no_new_user_namespace_can_be_made_either() -> None:
    found = run("system call filter", ["kernel_surface:new_namespaces"])
    answers = {item["what"]: item["answer"] for item in found["kernel_surface:new_namespaces"]}
    assert answers["unshare(user)"] == "ENOSPC"
