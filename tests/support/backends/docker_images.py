"""Small images of a test's own, made without a registry.

One with a static busybox and a shell, one with a single program.
"""

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.sandbox.docker.broker.daemon import Daemon
from mecapy_platform.sandbox.docker.options import ImagePolicy
from mecapy_platform.sandbox.docker.root_image import make_image

FOR_TESTS = ImagePolicy(node_images=("test/*", "mecapy/*"), runc_min="1.1.0")  # the machine's own runc, mended or not
FOR_TESTS_VARIABLES = {"MECAPY_DOCKER_NODE_IMAGES": "test/*", "MECAPY_DOCKER_RUNC_MIN": "1.1.0"}
BUSYBOX = Path("/bin/busybox")
SHELL = (
    "sh",
    "cat",
    "cp",
    "echo",
    "env",
    "mkdir",
    "sleep",
    "test",
    "touch",
    "dd",
    "ifconfig",
    "kill",
    "id",
    "ls",
    "true",
    "false",
    "wget",
)


def need_busybox() -> None:
    if not BUSYBOX.exists() or b"statically" not in _describe(BUSYBOX):
        message = "needs a static busybox (deploy/ci/install-debian.sh)"
        if os.environ.get("MECAPY_REQUIRE_SERVICES") == "1":
            pytest.fail(message)
        pytest.skip(message)


def load_shell_image(daemon: Daemon, name: str = "test/shell", **config: Any) -> str:
    """busybox at /bin, with its names."""
    layer = _layer(
        {"bin/busybox": BUSYBOX.read_bytes()},
        {f"bin/{item}": "busybox" for item in SHELL},
        ("bin", "tmp", "workspace", "mecapy"),
    )
    return _load(daemon, layer, name, {"Env": ["PATH=/bin"], **config})


def load_hostile_image(
    daemon: Daemon, files: dict[str, bytes], name: str = "test/hostile", environment: Sequence[str] = ()
) -> str:
    """busybox with a shell, and files and variables where something of ours might look for its own."""
    folders = sorted({str(parent) for path in files for parent in Path(path).parents} - {"."})
    layer = _layer(
        {"bin/busybox": BUSYBOX.read_bytes(), **files},
        {f"bin/{item}": "busybox" for item in SHELL},
        tuple(dict.fromkeys(("bin", "tmp", "workspace", *folders))),
    )
    return _load(daemon, layer, name, {"Env": ["PATH=/bin", *environment]})


def load_bare_image(daemon: Daemon, name: str = "test/bare") -> str:
    """One program and nothing else: no shell, no C library, no Python, no folder."""
    return _load(daemon, _layer({"busybox": BUSYBOX.read_bytes()}, {}, ()), name, {})


def _load(daemon: Daemon, layer: bytes, name: str, config: dict[str, Any]) -> str:
    image = make_image(layer, name, config=config)
    daemon.load(image.archive)
    return image.image_id


def _layer(files: dict[str, bytes], links: dict[str, str], folders: tuple[str, ...]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as layer:
        for name in folders:
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            layer.addfile(member, io.BytesIO(content))
        for name, aim in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, aim
            layer.addfile(member)
    return target.getvalue()


def _describe(path: Path) -> bytes:
    """`statically` when the program asks for no loader."""
    return b"" if b"/ld-linux" in path.read_bytes()[:65536] else b"statically"
