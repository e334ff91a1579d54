from dataclasses import replace
from pathlib import Path
from typing import Any

from mecapy_platform.sandbox.base import Environment, Limits, SandboxSpec
from mecapy_platform.sandbox.docker.container_config import (
    ContainerProgram,
    Identity,
    container_config,
    labels_of,
    limits_from,
)
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.docker.root_image import root_image

LIMITS = Limits(cpu=2, memory_mb=512, timeout_seconds=60, disk_bytes=64 << 20, processes=100)
SPEC = SandboxSpec("task-1", 3, Path("/p"), Path("/i"), LIMITS, Environment(Path("/usr/bin/python3")), "bolts:size")
PROGRAM = ContainerProgram("sha256:abc", ("/usr/bin/python3", "-I"), (("/p", "/package"),), cleared=("LD_PRELOAD",))
OPTIONS = DockerOptions(Path("/runs"), platform="test", node="n1")


def config(options: DockerOptions = OPTIONS) -> dict[str, Any]:
    identity = Identity("mecapy-test-1", 1_950_000_007, labels_of(SPEC, "mecapy-test-1", options))
    return container_config(SPEC, PROGRAM, identity, options)


def test_confinement_is_asked_for_in_full() -> None:
    host = config()["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"][0] == "no-new-privileges"
    assert host["SecurityOpt"][1].startswith('seccomp={"defaultAction":"SCMP_ACT_ERRNO"')
    assert host["Memory"] == host["MemorySwap"] == 512 << 20
    assert host["NanoCpus"] == 2_000_000_000
    assert host["PidsLimit"] == 101
    assert {Ulimit["Name"]: Ulimit["Hard"] for Ulimit in host["Ulimits"]}["core"] == 0
    assert "/sys" in host["MaskedPaths"]
    assert "Privileged" not in host
    assert "Binds" not in host


def test_every_mount_is_read_only_and_every_writable_place_has_limits() -> None:
    host = config()["HostConfig"]
    assert all(mount["ReadOnly"] for mount in host["Mounts"])
    assert set(host["Tmpfs"]) == {"/workspace/out", "/workspace/scratch", "/tmp", "/dev/shm"}
    for options in host["Tmpfs"].values():
        assert f"size={64 << 20}" in options
        assert "nr_inodes=" in options
        assert "nosuid,nodev" in options


def test_the_user_is_never_root_and_the_images_own_variables_are_taken_away() -> None:
    made = config()
    assert made["User"] == "1950000007:1950000007"
    assert "LD_PRELOAD" in made["Env"]


def test_a_runtime_is_named_only_when_asked_for() -> None:
    assert "Runtime" not in config()["HostConfig"]
    assert config(replace(OPTIONS, runtime="runsc"))["HostConfig"]["Runtime"] == "runsc"


def test_labels_tell_a_worker_that_comes_back_whose_it_is_and_its_limits() -> None:
    labels = labels_of(SPEC, "mecapy-test-1", OPTIONS)
    assert labels["mecapy.platform"] == "test"
    assert labels["mecapy.task"] == "task-1"
    assert labels["mecapy.attempt"] == "3"
    assert limits_from(labels) == LIMITS


def test_the_empty_root_has_the_same_id_each_time() -> None:
    assert root_image() == root_image()
    assert root_image().image_id.startswith("sha256:")
