"""Modes B and C.

Images built from a Dockerfile or named, run under the same contract, without a shell or Python in them.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox_contract import LIMITS, Outcome, follow
from mecapy_platform.core.errors import InvalidInputError, SandboxError
from mecapy_platform.sandbox.base import EndReason, LogChunk, SandboxSpec, StopReason
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.broker.daemon import Daemon
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.images import BuildOrder
from support.backends.docker_daemon import TestDaemon, daemon
from support.backends.docker_images import FOR_TESTS, load_bare_image, load_shell_image, need_busybox


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    need_busybox()
    with daemon(has_profile=True) as started:
        yield started


class Shop:
    """Images and runs of one daemon."""

    def __init__(self, engine: TestDaemon, folder: Path) -> None:
        self.folder = folder
        self.daemon = Daemon(engine.address)
        self.sandbox = DockerSandbox(DockerOptions(folder / "runs", engine.address, images=FOR_TESTS))
        self.images = self.sandbox.images
        self.shell = load_shell_image(self.daemon)
        self.bare = load_bare_image(self.daemon)
        self.said: list[str] = []

    def order(self, text: str, files: dict[str, str] | None = None, **options: Any) -> BuildOrder:
        context = Path(tempfile.mkdtemp(dir=self.folder))
        (context / "Dockerfile").write_text(text)
        for name, content in (files or {}).items():
            (context / name).write_text(content)
        order = BuildOrder(context, "Dockerfile", "org-a", {}, has_network=False, seconds=60, image_bytes=64 << 20)
        return replace(order, **options)

    def build(self, text: str, files: dict[str, str] | None = None, **options: Any) -> str:
        return self.images.build(self.order(text, files, **options), self.said.append)

    def spec(self, image: str, *entrypoint: str, inputs: dict[str, object] | None = None, **limits: Any) -> SandboxSpec:
        given = Path(tempfile.mkdtemp(dir=self.folder))
        given.chmod(0o755)
        (given / "data.json").write_text(json.dumps(inputs or {"load": 3}))
        return SandboxSpec(
            "task",
            1,
            given,
            given,
            replace(LIMITS, **limits),
            entrypoint=entrypoint,
            image=image,
            organization="org-a",
        )

    def run(self, image: str, *entrypoint: str, **options: Any) -> Outcome:
        with self.sandbox.start(self.spec(image, *entrypoint, **options)) as run:
            return follow(run)


@pytest.fixture(scope="module")
def shop(engine: TestDaemon) -> Iterator[Shop]:
    folder = Path(tempfile.mkdtemp())
    made = Shop(engine, folder)
    yield made
    made.sandbox.close()
    made.daemon.close()
    shutil.rmtree(folder)


COPIES = ("/busybox", "cp", "/workspace/in/data.json", "/workspace/out/data.json")


class TestRuns:
    def test_an_image_without_shell_library_or_python_keeps_the_contract(self, shop: Shop) -> None:
        outcome = shop.run(shop.bare, *COPIES)
        assert outcome.result == {"load": 3}
        assert outcome.ended.exit_code == 0

    def test_the_environment_is_the_images_and_the_contracts(self, shop: Shop) -> None:
        image = load_shell_image(
            shop.daemon, "test/env", Env=["PATH=/bin", "SOLVER=fast", "LD_PRELOAD=/nonexistent.so"], WorkingDir="/tmp"
        )
        text = shop.run(image, "sh", "-c", "env; ls -d $PWD").text("stdout")
        assert "SOLVER=fast" in text
        assert "MECAPY_CPU_LIMIT=1" in text
        assert "LD_PRELOAD=/nonexistent.so" in text  # the user's own affair: our first process never saw it
        assert text.endswith("/tmp\n")

    def test_confinement_is_that_of_mode_a(self, shop: Shop) -> None:
        script = """
            for place in / /bin /mecapy /workspace /workspace/in /dev /mecapy/usr; do
                touch $place/planted && echo "wrote $place"; done
            for place in /workspace/out /workspace/scratch /tmp /dev/shm; do
                touch $place/own || echo "closed $place"; done
            cat /proc/self/status; ls /proc | grep '^[0-9]'
        """
        outcome = shop.run(shop.shell, "sh", "-c", script)
        text = outcome.text("stdout")
        assert "wrote" not in text
        assert "closed" not in text
        assert "CapEff:\t0000000000000000" in text
        assert "NoNewPrivs:\t1" in text
        assert "Seccomp:\t2" in text

    def test_error_file_and_exit_code_come_back(self, shop: Shop) -> None:
        script = """echo '{"error": "mesh is empty", "type": "MeshError"}' > /workspace/out/_error.json; exit 3"""
        outcome = shop.run(shop.shell, "sh", "-c", script)
        assert outcome.error == "mesh is empty"
        assert outcome.ended.exit_code == 3

    def test_a_program_that_is_not_there_is_named(self, shop: Shop) -> None:
        outcome = shop.run(shop.shell, "/opt/absent")
        assert "/opt/absent cannot be started" in outcome.error
        assert outcome.ended.exit_code == 127

    def test_a_stop_reaches_the_program_and_what_it_saves_is_kept(self, shop: Shop) -> None:
        script = (
            "trap 'echo saved > /workspace/out/artifacts/partial.txt; exit 0' TERM; echo ready; while true; do "
            "sleep 0.1; done"
        )
        with shop.sandbox.start(shop.spec(shop.shell, "sh", "-c", script)) as run:
            outcome = follow(run, lambda event: run.stop(StopReason.CANCELLED) if isinstance(event, LogChunk) else None)
        assert outcome.contents == {"partial.txt": b"saved\n"}
        assert outcome.ended.reason is EndReason.STOPPED

    def test_limits_are_named(self, shop: Shop) -> None:
        fills = shop.run(shop.shell, "dd", "if=/dev/zero", "of=/tmp/full", "bs=1M", "count=64", disk_bytes=4 << 20)
        assert fills.ended.reason is EndReason.DISK_LIMIT
        slow = shop.run(shop.shell, "sleep", "60", timeout_seconds=0.5, grace_seconds=0.2)
        assert slow.ended.reason is EndReason.TIMEOUT

    def test_the_images_own_user_is_not_used(self, shop: Shop) -> None:
        image = load_shell_image(shop.daemon, "test/root", User="0:0")
        assert not shop.run(image, "id", "-u").text("stdout").startswith("0\n")

    def test_an_image_with_volumes_is_refused(self, shop: Shop) -> None:
        image = load_shell_image(shop.daemon, "test/volumes", Volumes={"/data": {}})
        with pytest.raises(SandboxError) as caught:
            shop.sandbox.start(shop.spec(image, "true"))
        assert caught.value.code == "image_has_volumes"

    def test_an_image_that_is_not_here_is_said(self, shop: Shop) -> None:
        with pytest.raises(SandboxError) as caught:
            shop.sandbox.start(shop.spec("sha256:" + "0" * 64, "true"))
        assert caught.value.code == "image_unavailable"


class TestBuilds:
    def test_a_dockerfile_is_built_and_runs(self, shop: Shop) -> None:
        script = (
            "#!/bin/sh\ncat /made > /workspace/out/artifacts/made.txt\necho '{\"ok\": true}' > "
            "/workspace/out/data.json\n"
        )
        image = shop.build("FROM test/shell\nCOPY run.sh /opt/run.sh\nRUN echo built > /made\n", {"run.sh": script})
        outcome = shop.run(image, "sh", "/opt/run.sh")
        assert outcome.result == {"ok": True}
        assert outcome.contents == {"made.txt": b"built\n"}
        assert any(line.startswith("Step 3/") for line in shop.said)

    def test_a_build_has_no_network(self, shop: Shop) -> None:
        shop.build("FROM test/shell\nRUN ifconfig -a > /seen; cat /proc/net/dev > /seen\n")
        image = shop.build("FROM test/shell\nRUN cat /proc/net/dev > /seen\n")
        text = shop.run(image, "cat", "/seen").text("stdout")
        assert [line.split(":")[0].strip() for line in text.splitlines()[2:]] == ["lo"]

    def test_what_runs_in_a_build_is_under_our_filter(self, shop: Shop) -> None:
        image = shop.build(
            "FROM test/shell\nRUN cat /proc/self/status > /seen; mkdir /m; busybox mount -t tmpfs none /m && echo "
            "mounted >> /seen; true\n"
        )
        text = shop.run(image, "cat", "/seen").text("stdout")
        assert "Seccomp:\t2" in text
        assert "mounted" not in text

    @pytest.mark.parametrize(
        ("dockerfile", "options", "code"),
        [
            ("FROM test/shell\nRUN false\n", {}, "image_build_failed"),
            ("FROM test/shell\nCOPY absent /x\n", {}, "image_build_failed"),
            ("FROM registry.invalid/none:1\n", {}, "image_unavailable"),
            ("FROM test/shell\nRUN sleep 60\n", {"seconds": 2}, "image_build_stopped"),
            (
                "FROM test/shell\nCOPY large /large\n",
                {"files": {"large": "x" * (20 << 20)}, "image_bytes": 10 << 20},
                "image_too_large",
            ),
            (
                # ends by itself after 3 GB: a limit that fails must not fill the disk
                "FROM test/shell\nRUN for i in $(seq 150); do dd if=/dev/zero of=/$i bs=1M count=20; done\n",
                {"image_bytes": 64 << 20},
                "image_build_stopped",
            ),
            ("FROM test/shell\nVOLUME /data\n", {}, "image_has_volumes"),
            ("FROM test/shell\nRUN --mount=type=cache,target=/x true\n", {}, "dockerfile_refused"),
            ("FROM test/shell\n", {"dockerfile": "../Dockerfile"}, "dockerfile_missing"),
        ],
    )
    def test_what_is_wrong_is_said_by_its_code(
        self, shop: Shop, dockerfile: str, options: dict[str, Any], code: str
    ) -> None:
        with pytest.raises(InvalidInputError) as caught:
            shop.build(dockerfile, **options)
        assert caught.value.code == code

    def test_an_image_built_for_another_organization_is_no_base_and_cannot_be_named(self, shop: Shop) -> None:
        image = shop.build("FROM test/shell\nRUN echo secret > /secret\n", owner="org-b")
        for attempt in (f"FROM {image}\n", f"FROM test/shell\nCOPY --from={image} /secret /secret\n"):
            with pytest.raises(InvalidInputError) as caught:
                shop.build(attempt, owner="org-a")
            assert caught.value.code == "image_unavailable"
        with pytest.raises(InvalidInputError) as caught:
            shop.images.obtain(image, "org-a", shop.said.append)
        assert caught.value.code == "image_unavailable"
        assert shop.images.obtain(image, "org-b", shop.said.append) == image

    def test_links_of_a_context_do_not_reach_the_builder(self, shop: Shop) -> None:
        order = shop.order("FROM test/shell\nCOPY . /context\n")
        (order.context / "link").symlink_to("/etc/shadow")
        image = shop.images.build(order, shop.said.append)
        assert shop.run(image, "ls", "/context").text("stdout") == "Dockerfile\n"

    def test_a_saved_image_runs_on_a_node_that_did_not_build_it(self, shop: Shop) -> None:
        image = shop.build("FROM test/shell\nRUN echo moved > /made\n")
        with daemon() as elsewhere, shop.images.save(image) as archive:
            backend = DockerSandbox(DockerOptions(shop.folder / "elsewhere", elsewhere.address))
            other = backend.images
            assert not other.has(image)
            other.load(archive)
            assert other.has(image)
            backend.close()

    def test_without_our_filter_on_the_daemon_nothing_is_built_unless_allowed(self, shop: Shop) -> None:
        with daemon() as plain:
            load_shell_image(Daemon(plain.address))
            strict, lax = (
                DockerSandbox(
                    DockerOptions(
                        shop.folder / "plain", plain.address, images=FOR_TESTS, builds_under_default_filter=value
                    )
                )
                for value in (False, True)
            )
            with pytest.raises(InvalidInputError) as caught:
                strict.images.build(shop.order("FROM test/shell\n"), shop.said.append)
            assert caught.value.code == "build_filter_missing"
            assert lax.images.build(shop.order("FROM test/shell\n"), shop.said.append).startswith("sha256:")
            strict.close()
            lax.close()


class TestNames:
    def test_an_image_that_is_on_the_node_is_taken_by_its_id(self, shop: Shop) -> None:
        assert shop.images.obtain("test/shell", "org-a", shop.said.append) == shop.shell

    def test_an_image_that_cannot_be_had_is_said(self, shop: Shop) -> None:
        with pytest.raises(InvalidInputError) as caught:
            shop.images.obtain("registry.invalid/solver:1", "org-a", shop.said.append)
        assert caught.value.code == "image_unavailable"
        assert "registry.invalid/solver:1" in caught.value.message
