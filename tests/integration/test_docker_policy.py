"""Which images tenants may use and what making one may cost: the operator's policy, held by the broker."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from integration.test_docker_modes import Shop
from mecapy_platform.core.errors import InvalidInputError, SandboxError
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.broker.build_group import PROCESSES, build_group, check_runc
from mecapy_platform.sandbox.docker.broker.config import BrokerConfig
from mecapy_platform.sandbox.docker.broker.daemon import Daemon
from mecapy_platform.sandbox.docker.broker.images import DockerImages
from mecapy_platform.sandbox.docker.options import DockerOptions, ImagePolicy
from support.backends.docker_daemon import TestDaemon, daemon
from support.backends.docker_images import FOR_TESTS, load_shell_image, need_busybox


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    need_busybox()
    with daemon(has_profile=True) as started:
        yield started


@pytest.fixture(scope="module")
def shop(engine: TestDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(engine, tmp_path_factory.mktemp("policy"))
    yield made
    made.sandbox.close()
    made.daemon.close()


@pytest.mark.parametrize("name", ["operators/billing", "operators/billing:latest", "debian", "elsewhere.example/x:1"])
def test_an_image_of_the_node_that_is_nobodys_is_not_everybodys(shop: Shop, name: str) -> None:
    load_shell_image(shop.daemon, "operators/billing")
    with pytest.raises(InvalidInputError) as caught:
        shop.images.obtain(name, "org-a", shop.said.append)
    assert caught.value.code == "image_unavailable"
    with pytest.raises(InvalidInputError):
        shop.build(f"FROM {name}\n")
    with pytest.raises(InvalidInputError):
        shop.build(f"FROM test/shell\nCOPY --from={name} / /x\n")


def test_the_id_of_an_image_opens_it_to_nobody_but_its_organization(shop: Shop) -> None:
    billing = load_shell_image(shop.daemon, "operators/billing", Env=["A=1"])
    with pytest.raises(InvalidInputError):
        shop.images.obtain(billing, "org-a", shop.said.append)
    own = shop.build("FROM test/shell\nRUN true\n", owner="org-b")
    with pytest.raises(SandboxError) as caught:
        shop.sandbox.start(shop.spec(own, "true"))  # of org-a
    assert caught.value.code == "image_unavailable"
    with shop.sandbox.start(replace(shop.spec(own, "true"), organization="org-b")) as run:
        assert run.reference


def test_the_processes_of_a_build_are_limited_together(shop: Shop) -> None:
    with pytest.raises(InvalidInputError) as caught:
        shop.build(
            f"FROM test/shell\nRUN i=0; while [ $i -lt {PROCESSES + 100} ]; do sleep 20 & i=$((i+1)); done; wait\n"
        )
    assert caught.value.code == "image_build_failed"


def test_without_a_group_to_limit_builds_nothing_is_built() -> None:
    with pytest.raises(InvalidInputError) as caught:
        build_group({"CgroupDriver": "systemd"}, "p", "")
    assert caught.value.code == "build_group_missing"
    assert build_group({"CgroupDriver": "systemd"}, "p", "builds.slice") == "builds.slice"


@pytest.mark.parametrize(
    ("found", "least", "is_refused"),
    [
        ("1.1.5+ds1", "1.2.8", True),
        ("1.2.7", "1.2.8", True),
        ("1.2.8", "1.2.8", False),
        ("1.10.0", "1.2.8", False),
        ("1.1.5+ds1", "1.1.5", False),
        ("", "1.2.8", True),
        ("unknown", "1.2.8", True),
    ],
)
def test_an_old_runtime_is_refused_and_named(found: str, least: str, is_refused: bool) -> None:
    if not is_refused:
        check_runc({"runc": found}, least)
        return
    with pytest.raises(InvalidInputError, match=r"MECAPY_DOCKER_RUNC_MIN") as caught:
        check_runc({"runc": found}, least)
    assert caught.value.code == "runc_too_old"


def test_images_neither_run_nor_build_on_an_old_runtime(shop: Shop, engine: TestDaemon) -> None:
    strict = replace(FOR_TESTS, runc_min="999.0.0")
    backend = DockerSandbox(DockerOptions(shop.folder / "strict", engine.address, images=strict))
    for attempt in (
        lambda: backend.start(shop.spec(shop.shell, "true")),
        lambda: backend.images.build(shop.order("FROM test/shell\n"), shop.said.append),
    ):
        with pytest.raises(InvalidInputError) as caught:
            attempt()
        assert caught.value.code == "runc_too_old"
    backend.close()


def collector(engine: TestDaemon, folder: Path, policy: ImagePolicy) -> tuple[DockerImages, Daemon]:
    speaks = Daemon(engine.address)
    config = BrokerConfig(os.geteuid(), ("/",), engine.address, images=policy, used_images=str(folder))
    return DockerImages(lambda: speaks, config), speaks


def test_images_that_were_not_used_for_long_go_and_others_stay(shop: Shop, engine: TestDaemon, tmp_path: Path) -> None:
    images, speaks = collector(engine, tmp_path, FOR_TESTS)
    old, new, nobodys = (shop.build(f"FROM test/shell\nRUN echo {name} > /x\n") for name in ("old", "new", "nobodys"))
    for image in (old, new):
        images.runnable(image, "org-a")
    past = 40 * 86400
    os.utime(
        tmp_path / old.removeprefix("sha256:"), (0, (tmp_path / new.removeprefix("sha256:")).stat().st_mtime - past)
    )
    images.collect()
    assert [images.has(item) for item in (old, new, nobodys)] == [False, True, True]
    assert [path.name for path in tmp_path.iterdir()] == [new.removeprefix("sha256:")]
    speaks.close()


def test_above_their_size_those_go_that_were_not_used_for_longest(
    shop: Shop, engine: TestDaemon, tmp_path: Path
) -> None:
    made = [shop.build(f"FROM test/shell\nRUN echo {number} > /x\n") for number in range(3)]
    size = int((shop.daemon.image(made[0]) or {})["Size"])
    images, speaks = collector(engine, tmp_path, replace(FOR_TESTS, kept_bytes=2 * size + 100))
    for place, image in enumerate(made):
        images.runnable(image, "org-a")
        seen = (tmp_path / image.removeprefix("sha256:")).stat().st_mtime
        os.utime(tmp_path / image.removeprefix("sha256:"), (seen, seen - 100 + place))
    images.collect()
    assert [images.has(image) for image in made] == [False, True, True]
    speaks.close()


def test_the_policy_reaches_the_broker_as_it_was_given() -> None:
    config = BrokerConfig(1, ("/tmp",), images=FOR_TESTS)
    assert BrokerConfig.from_json(config.as_json()) == replace(config, roots=(os.path.realpath("/tmp"),))
    assert json.loads(config.as_json())["images"]["runc_min"] == FOR_TESTS.runc_min
