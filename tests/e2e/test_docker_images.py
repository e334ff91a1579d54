"""A Dockerfile and a named image through the real platform: deployed, built or pinned once, run under the contract."""

from collections.abc import Iterator

import pytest

from checks_corpus.hostile import HOSTILE
from mecapy_platform.sandbox.docker.broker.daemon import Daemon
from support.backends.docker_daemon import TestDaemon, daemon
from support.backends.docker_images import FOR_TESTS_VARIABLES, load_bare_image, load_shell_image, need_busybox
from support.platform.running_platform import Running, archive, deploy, platform

FUNCTION = """
functions:
  echo:
    entrypoint: {entrypoint}
    inputs: {{load: Float}}
    outputs: {{load: Float}}
    resources: {{tier: nano, timeout: 60}}
"""
DOCKERFILE = """
version: "1"
package: {name: built, version: 1.0.0}
runtime: {kind: dockerfile, dockerfile: docker/Dockerfile}
""" + FUNCTION.format(entrypoint="[sh, /opt/run.sh]")
IMAGE = """
version: "1"
package: {name: named, version: 1.0.0}
runtime: {kind: image, image: "test/bare:latest"}
""" + FUNCTION.format(entrypoint="[/busybox, cp, /workspace/in/data.json, /workspace/out/data.json]")
SCRIPT = 'echo "from $(cat /made)"\ncp /workspace/in/data.json /workspace/out/data.json\n'
FILES = {
    "docker/Dockerfile": "FROM test/shell\nCOPY run.sh /opt/run.sh\nRUN echo the build > /made\n",
    "run.sh": SCRIPT,
}


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    need_busybox()
    with daemon(has_profile=True) as started:
        started.directory.chmod(0o711)
        load_shell_image(Daemon(started.address))
        load_bare_image(Daemon(started.address))
        yield started


@pytest.fixture(scope="module")
def running(engine: TestDaemon) -> Iterator[Running]:
    with platform(
        {"MECAPY_IMAGES_BACKEND": "docker", "MECAPY_DOCKER_HOST": engine.address, **FOR_TESTS_VARIABLES}
    ) as started:
        yield started


def test_a_dockerfile_package_is_built_once_and_runs(running: Running) -> None:
    with running.client() as client:
        package = deploy(client, archive(DOCKERFILE, FILES))
        assert package["status"] == "ready"
        for load in (1.5, 2.5):
            answer = client.post(
                "/tasks", params={"wait": 60}, json={"package": "built", "function": "echo", "inputs": {"load": load}}
            )
            task = answer.json()
            assert (task["state"], task["result"]) == ("completed", {"load": load}), task
        entries = client.get(f"/tasks/{task['id']}/logs").json()["entries"]
        assert [entry["text"] for entry in entries if entry["kind"] == "stdout"] == ["from the build\n"]
        assert task["provenance"]["environment_digest"].startswith("sha256:")


def test_a_named_image_is_pinned_and_runs(running: Running) -> None:
    with running.client() as client:
        deploy(client, archive(IMAGE, {}))
        answer = client.post(
            "/tasks", params={"wait": 60}, json={"package": "named", "function": "echo", "inputs": {"load": 4.0}}
        )
        assert (answer.json()["state"], answer.json()["result"]) == ("completed", {"load": 4.0}), answer.text


def test_the_sources_of_a_dockerfile_package_are_checked_and_its_image_is_said_not_to_be(running: Running) -> None:
    honest = {
        **FILES,
        "tool.py": "import subprocess\n\nsubprocess.run('ls', shell=True)\n",
        "old.py": "print 'Python 2'\n",
    }
    with running.client() as client:
        package = deploy(client, archive(DOCKERFILE.replace("name: built", "name: looked-at"), honest))
        report = client.get(f"/packages/{package['id']}/versions/1.0.0/checks").json()
        states = {item["check"]: item["state"] for item in report["checks"]}
        assert {check: states[check] for check in ("bandit", "hostile", "secrets", "sources")} == {
            "bandit": "warned",
            "hostile": "passed",
            "secrets": "passed",
            "sources": "warned",
        }
        assert {states[check] for check in ("imports", "restricted_python", "vulnerabilities", "licences")} == {
            "not_checked"
        }
        assert "an environment of its own" in next(
            item["said"] for item in report["checks"] if item["check"] == "imports"
        )
        assert {(finding["file"], finding["rule"]) for finding in report["findings"]} >= {("old.py", "source_syntax")}


@pytest.mark.parametrize("manifest", [DOCKERFILE, IMAGE])
def test_hostile_sources_stop_an_image_before_it_is_built(running: Running, manifest: str) -> None:
    named = manifest.replace("name: built", "name: hostile-built").replace("name: named", "name: hostile-named")
    files = {**(FILES if manifest is DOCKERFILE else {}), **HOSTILE["curl_to_shell"].files}
    with running.client() as client:
        answer = client.post(
            "/packages/from-zip", files={"file": ("package.zip", archive(named, files), "application/zip")}
        )
        package = answer.json()["package"]
        assert package["status"] == "error", answer.text
        assert answer.json()["validation_results"]["error"]["code"] == "checks_failed"
        report = client.get(f"/packages/{package['id']}/versions/1.0.0/checks").json()
        assert "download_and_run" in {finding["rule"] for finding in report["findings"] if finding["stops"]}


@pytest.mark.parametrize(
    ("dockerfile", "code"),
    [("FROM registry.invalid/none\n", "image_unavailable"), ("FROM test/shell\nRUN false\n", "image_build_failed")],
)
def test_a_build_that_fails_says_why(running: Running, dockerfile: str, code: str) -> None:
    manifest = DOCKERFILE.replace("name: built", f"name: broken-{code.replace('_', '-')}")
    content = archive(manifest, {**FILES, "docker/Dockerfile": dockerfile})
    with running.client() as client:
        answer = client.post("/packages/from-zip", files={"file": ("package.zip", content, "application/zip")})
        package = answer.json()["package"]
        assert package["status"] == "error", answer.text
        assert code in answer.text


def test_a_network_for_the_build_is_refused_unless_the_organization_allows_it(running: Running) -> None:
    manifest = DOCKERFILE.replace("name: built", "name: online") + "platform: {build: {network: true}}\n"
    with running.client() as client:
        answer = client.post(
            "/packages/from-zip", files={"file": ("package.zip", archive(manifest, FILES), "application/zip")}
        )
        assert "build_network_refused" in answer.text
