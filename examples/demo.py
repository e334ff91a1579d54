"""The main job from start to end.

A platform on this machine, packages deployed, their calculations run alone, in a workflow and in a study of 1,000
points, results printed.

Usage: python examples/demo.py [--data DIR]. The data directory is kept, so that a second run starts from warm caches.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
MECAPY = str(Path(sys.executable).parent / "mecapy")
READY_SECONDS = 90.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=EXAMPLES.parent / ".mecapy" / "demo")
    data = parser.parse_args().data
    with tempfile.TemporaryDirectory() as folder:
        ready_file = Path(folder, "ready.json")
        started = time.monotonic()
        environment = {**os.environ, "MECAPY_ALLOW_NEWER_PYTHON": "1"}
        platform = subprocess.Popen(
            [MECAPY, "up", "--data", str(data), "--ready-file", str(ready_file)], env=environment
        )
        try:
            ready = wait_ready(platform, ready_file)
            print(f"\nThe platform answers at {ready['url']} after {time.monotonic() - started:.1f} s.\n", flush=True)
            return show(ready)
        finally:
            platform.send_signal(signal.SIGTERM)
            platform.wait(60)


def wait_ready(platform: "subprocess.Popen[bytes]", ready_file: Path) -> dict:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if platform.poll() is not None:
            sys.exit(f"mecapy up ended with code {platform.returncode}")
        if ready_file.is_file():
            return json.loads(ready_file.read_text())
        threading.Event().wait(0.1)
    sys.exit("mecapy up did not become ready")


def show(ready: dict) -> int:
    """Deploy and run each example as an engineer would; how many commands failed."""
    environment = {
        **os.environ,
        "MECAPY_API_URL": ready["url"],
        "MECAPY_TOKEN": ready["token"],
        "MECAPY_ORGANIZATION": ready["organization"],
    }
    failures = 0
    for package in ("bolted-joint", "beam-frame"):
        failures += deploy(environment, package)
    failures += command(environment, "run", "bolts:size", "diameter=12 mm", "load=20kN")
    failures += command(
        environment, "run", "beam-frame:solve", "--inputs", str(EXAMPLES / "beam-frame/models/portal.json")
    )
    if shutil.which("ccx"):
        failures += deploy(environment, "calculix")
        deck = f"deck=@{EXAMPLES / 'calculix/tests/cantilever.inp'}"
        failures += command(environment, "run", "calculix:solve", deck)
        for name in ("sign-off", "margins"):
            failures += command(environment, "workflow", "import", str(EXAMPLES / f"workflows/{name}.yml"))
        failures += command(environment, "workflow", "run", "margins", deck)
    else:
        print("\nThe third example and the workflow need CalculiX: `apt-get install calculix-ccx`, then run it again.")
    failures += study_bolts(environment, 1000)
    return min(failures, 1)


def study_bolts(environment: dict, points: int) -> int:
    """The study of bolt preload with fewer points, and what it tells."""
    text = (EXAMPLES / "studies/bolt-preload.yml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "bolt-preload.yml")
        file.write_text(text.replace("points: 10000", f"points: {points}"), encoding="utf-8")
        print(f"\n# examples/studies/bolt-preload.yml with {points} points", flush=True)
        failures = command(environment, "study", "run", str(file))
    return failures + command(environment, "study", "stats", "last", "--want", "moments", "--want", "success")


def deploy(environment: dict, package: str) -> int:
    """Deploy; a version that is there already, from an earlier demo, is fine."""
    print(f"\n$ mecapy deploy examples/{package}", flush=True)
    done = subprocess.run(
        [MECAPY, "deploy", str(EXAMPLES / package)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode and "already" in done.stdout + done.stderr:
        print("already deployed")
        return 0
    print(done.stdout + done.stderr, end="", flush=True)
    return int(done.returncode != 0)


def command(environment: dict, *arguments: str) -> int:
    shown = " ".join(f'"{argument}"' if " " in argument else argument for argument in arguments)
    print(f"\n$ mecapy {shown.replace(str(EXAMPLES), 'examples')}", flush=True)
    return int(subprocess.run([MECAPY, *arguments], env=environment, check=False).returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
