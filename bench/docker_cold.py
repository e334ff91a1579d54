"""A cold call in a container beside `docker run` of the same thing by hand.

Interleaved pairs, the median ratio with its interval.

    python -m bench.docker_cold [--pairs 30]

By hand means the very same container: image, mounts, limits, filter, a Python that starts, imports the handler and
writes its result.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mecapy_platform.sandbox.base import Environment, Limits, SandboxSpec
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.docker.program import managed_program
from mecapy_platform.sandbox.syscalls.docker_profile import profile_json

SCRIPT = Path(__file__).parents[1] / "deploy" / "ci" / "dockerd.sh"
CODE = (
    "import os\n\n\ndef answer(nonce):\n    return {'answer': nonce * 3 + 1, 'namespace': "
    "os.stat('/proc/self/ns/pid').st_ino}\n"
)
BY_HAND = (
    "import json, sys; sys.path.insert(0, '/package'); from nonce import answer; data = "
    "json.load(open('/workspace/in/data.json')); "
    "json.dump(answer(**data), sys.stdout)"
)
LIMITS = Limits(cpu=1, memory_mb=512, timeout_seconds=60, disk_bytes=64 << 20)
GOAL = 1.3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=30)
    report(print, parser.parse_args().pairs)


def report(say: Callable[[str], None], pairs: int) -> None:
    """Says plainly where Docker cannot be had."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        say("Docker: not measured, it needs root and dockerd (deploy/ci/install-debian.sh)")
        return
    directory = Path(tempfile.mkdtemp(prefix="mecapy-bench-docker-"))
    host = subprocess.run([SCRIPT, "start", directory], check=True, capture_output=True, text=True).stdout.strip()
    try:
        measure(say, host, directory, pairs)
    finally:
        subprocess.run([SCRIPT, "stop", directory], check=True)


def measure(say: Callable[[str], None], host: str, directory: Path, pairs: int) -> None:
    sandbox = DockerSandbox(DockerOptions(directory / "runs", host))
    package = directory / "package"
    package.mkdir()
    (package / "nonce.py").write_text(CODE)
    ours, theirs = [], []
    call(sandbox, directory, package, 0)
    by_hand(host, directory, package, 0)
    for nonce in range(1, pairs + 1):
        for kind in random.sample(("ours", "theirs"), 2):
            if kind == "ours":
                ours.append(call(sandbox, directory, package, nonce))
            else:
                theirs.append(by_hand(host, directory, package, nonce))
    sandbox.close()
    say_cold(say, ours, theirs)
    warm(say, host, directory, package, pairs)


def warm(say: Callable[[str], None], host: str, directory: Path, package: Path, pairs: int) -> None:
    """The same call where a container waits for it."""
    sandbox = DockerSandbox(DockerOptions(directory / "warm-runs", host, warm=2))
    took = []
    for nonce in range(1000, 1000 + pairs):
        spec = call_spec(directory, package, nonce)
        while nonce > 1000 and not sandbox.is_ready(spec):
            threading.Event().wait(0.02)
        took.append(call(sandbox, directory, package, nonce))
    sandbox.close()
    say(f"in a waiting container     {statistics.median(took[1:]) * 1000:6.0f} ms")


def call_spec(directory: Path, package: Path, nonce: int) -> SandboxSpec:
    given = inputs(directory, nonce)
    return SandboxSpec(
        "bench", nonce, package, given, LIMITS, environment(), "nonce:answer", organization="bench", is_warm=True
    )


def call(sandbox: DockerSandbox, directory: Path, package: Path, nonce: int) -> float:
    """From the start to the collected result, with the container's end left to the background as in a worker."""
    spec = call_spec(directory, package, nonce)
    began = time.monotonic()
    with sandbox.start(spec) as run:
        for _event in run.events():
            pass
        result = run.collect().result
        took = time.monotonic() - began
    assert result is not None
    assert json.loads(result)["answer"] == nonce * 3 + 1
    return took


def by_hand(host: str, directory: Path, package: Path, nonce: int) -> float:
    """`docker run` from a shell's point of view: until the client has ended with the result on its standard output."""
    profile = directory / "seccomp.json"
    profile.write_text(profile_json())
    spec = SandboxSpec("bench", nonce, package, inputs(directory, nonce), LIMITS, environment(), "nonce:answer")
    folder = directory / "by-hand"
    (folder / "port").mkdir(parents=True, exist_ok=True)
    (folder / "passwd").touch()
    program = managed_program(spec, folder, directory / "runs" / "etc", "mecapy/root")
    command = [
        "docker",
        "--host",
        host,
        "run",
        "--name",
        f"by-hand-{nonce}",
        "--network",
        "none",
        "--read-only",
        "--cap-drop",
        "ALL",
    ]
    command += ["--security-opt", "no-new-privileges", "--security-opt", f"seccomp={profile}", "--user", "65534:65534"]
    command += [
        "--pids-limit",
        str(LIMITS.processes),
        "--cpus",
        "1",
        "--memory",
        "512m",
        "--memory-swap",
        "512m",
        "--hostname",
        "sandbox",
    ]
    for place in ("/workspace/out", "/workspace/scratch", "/tmp", "/dev/shm"):
        command += ["--tmpfs", f"{place}:rw,nosuid,nodev,size=64m,nr_inodes=20000,uid=65534"]
    for source, target in program.mounts:
        command += ["--mount", f"type=bind,source={source},target={target},readonly"]
    command += ["--entrypoint", program.argv[0], program.image, *program.argv[1:], "-c", BY_HAND]
    began = time.monotonic()
    answer = subprocess.run(command, capture_output=True, check=True).stdout
    took = time.monotonic() - began
    subprocess.run(
        ["docker", "--host", host, "rm", "--force", f"by-hand-{nonce}"], capture_output=True, check=True
    )  # not counted
    assert json.loads(answer)["answer"] == nonce * 3 + 1
    return took


def inputs(directory: Path, nonce: int) -> Path:
    folder = directory / f"in-{nonce}"
    (folder / "files").mkdir(parents=True, exist_ok=True)
    (folder / "data.json").write_text(json.dumps({"nonce": nonce}))
    return folder


def environment() -> Environment:
    return Environment(Path(sys.executable).resolve())


def say_cold(say: Callable[[str], None], ours: list[float], theirs: list[float]) -> None:
    ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
    low, high = interval(ratios)
    middle = statistics.median(ratios)
    say(
        f"cold call in a container   {statistics.median(ours) * 1000:6.0f} ms median of {len(ours)}, {os.cpu_count()} "
        f"cores"
    )
    say(f"the same docker run        {statistics.median(theirs) * 1000:6.0f} ms")
    verdict = "missed" if low > GOAL else "held"
    say(
        f"ratio of pairs             {middle:6.2f}    95 % of the median {low:.2f} to {high:.2f}, goal <= {GOAL}: "
        f"{verdict}"
    )


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % interval of the median, by drawing again."""
    draws = sorted(statistics.median(random.choices(values, k=len(values))) for _ in range(2000))
    return draws[49], draws[1949]


if __name__ == "__main__":
    main()
