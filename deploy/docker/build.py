"""Makes our images out of Debian's packages, without a registry, and loads them into a Docker daemon.

`make images` calls it.

    python deploy/docker/build.py [--host unix:///..] [--record] [NAME ..]

mecapy/root     folders and links alone: the root of mode A, whose contents are mounted from the node
mecapy/python   Debian's Python with what it needs: a base for Dockerfiles of packages

An image's id is the digest of what is in it. `--record` writes the ids and the package versions to digests.json;
without it a Debian image that came out otherwise than recorded is said, as Debian's packages move on.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mecapy_platform.sandbox.docker.broker.daemon import Daemon
from mecapy_platform.sandbox.docker.root_image import image_config, root_image

HERE = Path(__file__).parent
DIGESTS = HERE / "digests.json"
SUITE = "bookworm"
EPOCH = "1700000000"
DEBIAN = {"mecapy/python": ("python3",)}
LEFT_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/doc/*")
REMOVED = (
    'rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/var/lib/apt/lists/* "$1"/etc/apt/sources.list*',
    'rm -f "$1"/etc/machine-id "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/lib/dbus/machine-id',
    'find "$1"/usr -name __pycache__ -prune -exec rm -rf {} +',
    'mkdir -p "$1"/workspace "$1"/mecapy',
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    parser.add_argument("--record", action="store_true", help="write digests.json")
    parser.add_argument("names", nargs="*", default=["mecapy/root", *DEBIAN])
    arguments = parser.parse_args()
    daemon = Daemon(arguments.host)
    recorded: dict[str, Any] = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    for name in arguments.names:
        made = build_root(daemon) if name == "mecapy/root" else build_debian(daemon, name)
        known = recorded.get(name, {}).get("id")
        print(
            f"{name}  {made['id']}  {made['size_mb']} MB"
            + ("" if known in {None, made["id"]} else "  (recorded: " + known + ")")
        )
        recorded[name] = made
    if arguments.record:
        DIGESTS.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


def build_root(daemon: Daemon) -> dict[str, Any]:
    image = root_image()
    daemon.load(image.archive)
    return {"id": image.image_id, "size_mb": 0, "packages": []}


def build_debian(daemon: Daemon, name: str) -> dict[str, Any]:
    with debian_root(DEBIAN[name]) as (layer, packages):
        size_mb = layer.stat().st_size >> 20
        image_id = load_image(daemon, name, layer)
    return {"id": image_id, "size_mb": size_mb, "packages": packages}


@contextmanager
def debian_root(packages: tuple[str, ...]) -> Iterator[tuple[Path, list[str]]]:
    """A small root file system as a tar, and `name=version` of every package in it."""
    with tempfile.TemporaryDirectory(prefix="mecapy-images-") as folder:
        layer, listed = Path(folder) / "layer.tar", Path(folder) / "packages"
        command = [
            "mmdebstrap",
            "--quiet",
            "--skip=output/dev",
            "--variant=essential",
            f"--include={','.join(packages)}",
        ]
        command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
        command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
        command += [
            "--customize-hook=chroot \"$1\" dpkg-query --show --showformat='${Package}=${Version}\\n' > " + str(listed)
        ]
        command += [f"--customize-hook={hook}" for hook in REMOVED]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
        try:
            subprocess.run([*command, SUITE, str(layer)], check=True, env=environment)
        except FileNotFoundError:
            sys.exit("mmdebstrap is not installed: deploy/ci/install-debian.sh")
        yield layer, listed.read_text().split()


def load_image(daemon: Daemon, name: str, layer: Path) -> str:
    """One layer with a fixed configuration, so that the same layer is the same image everywhere."""
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    environment = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"]}
    configuration = json.dumps(image_config([digest], environment), sort_keys=True).encode()
    image_id = hashlib.sha256(configuration).hexdigest()
    manifest = [{"Config": "config.json", "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}]
    folder = layer.parent
    (folder / "config.json").write_bytes(configuration)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    archive = folder / "image.tar"
    with tarfile.open(archive, "w") as target:
        for part in ("config.json", "layer.tar", "manifest.json"):
            target.add(folder / part, part)
    with archive.open("rb") as source:
        daemon.load(source)
    return f"sha256:{image_id}"


if __name__ == "__main__":
    main()
