"""Images as archives that `docker load` takes, made byte by byte: the same content has the same id on every machine.

The root of mode A holds folders and links alone; everything in it is mounted from the node when a container starts.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROOT_NAME = "mecapy/root"
EPOCH = "1970-01-01T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
FOLDERS = (
    "dev", "etc", "etc/alternatives", "mecapy", "mecapy/_mecapy_guest", "mecapy/port", "package", "proc",
    "site-packages", "sys", "tmp",
    "usr", "usr/bin", "usr/lib", "usr/lib64", "usr/share", "usr/share/zoneinfo", "workspace", "workspace/in",
    "workspace/out",
    "workspace/scratch",
)  # fmt: skip
LINKS = {"lib": "usr/lib", "lib64": "usr/lib64", "bin": "usr/bin"}
FILES = {
    "etc/group": "nogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/passwd": "nobody:x:65534:65534::/:/usr/sbin/nologin\n",
    "etc/ld.so.cache": "",
}


@dataclass(frozen=True)
class ImageArchive:
    """`image_id` is what the daemon will call it.

    The digest of its configuration, which names the digests of its layers.
    """

    image_id: str
    archive: bytes


def root_layer() -> bytes:
    """The file system of the empty root, as a tar whose bytes never change."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as layer:
        for name in FOLDERS:
            _add(layer, name, tarfile.DIRTYPE, mode=0o755)
        for name, link in LINKS.items():
            _add(layer, name, tarfile.SYMTYPE, mode=0o777, link=link)
        for name, text in FILES.items():
            _add(layer, name, tarfile.REGTYPE, mode=0o644, content=text.encode())
    return target.getvalue()


def root_image() -> ImageArchive:
    return make_image(root_layer(), ROOT_NAME)


def make_image(layer: bytes, name: str, *, config: Mapping[str, Any] | None = None) -> ImageArchive:
    """An image of one layer. `config`: members of the image's own configuration, such as Env."""
    configuration = json.dumps(image_config([hashlib.sha256(layer).hexdigest()], config or {}), sort_keys=True).encode()
    digest = hashlib.sha256(configuration).hexdigest()
    manifest = [{"Config": f"{digest}.json", "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}]
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in (
            (f"{digest}.json", configuration),
            ("layer.tar", layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            _add(archive, path, tarfile.REGTYPE, mode=0o644, content=content)
    return ImageArchive(f"sha256:{digest}", target.getvalue())


def image_config(layer_digests: Sequence[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of an image, with nothing in it that depends on when or where it was made."""
    return {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": EPOCH,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in layer_digests]},
        "history": [{"created": EPOCH, "created_by": "mecapy"} for _ in layer_digests],
    }


def _add(archive: tarfile.TarFile, name: str, kind: bytes, *, mode: int, content: bytes = b"", link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.linkname = kind, mode, len(content), link
    archive.addfile(member, io.BytesIO(content))
