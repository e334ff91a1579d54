"""Builds, pulls, keeps and loads images through the daemon.

What runs while an image is built is tenants' code, as root of a container.
"""

import io
import os
import re
import ssl
import stat
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from mecapy_platform.core.addresses import AddressPolicy
from mecapy_platform.core.errors import InvalidInputError, SandboxError
from mecapy_platform.outbound import Connector
from mecapy_platform.sandbox.docker.broker.build_group import build_group, check_runc
from mecapy_platform.sandbox.docker.broker.config import BrokerConfig
from mecapy_platform.sandbox.docker.broker.daemon import Daemon
from mecapy_platform.sandbox.docker.broker.registry import Reference, Registry, fetch_image
from mecapy_platform.sandbox.docker.options import ImagePolicy
from mecapy_platform.sandbox.dockerfile import parse_dockerfile
from mecapy_platform.sandbox.images import BuildOrder

IMAGE_ID = re.compile("sha256:[0-9a-f]{64}")
OWNER_LABEL = "mecapy.organization"
RUNNING = re.compile(r"---> Running in ([0-9a-f]{12})")
LOOK_SECONDS = 0.5
LINE_CHARACTERS = 2000


class DockerImages:
    """What may be built upon and run, by whom; where it comes from. The policy is the operator's."""

    def __init__(self, daemon: Callable[[], Daemon], config: BrokerConfig) -> None:
        self._daemon = daemon
        self._config = config
        self._policy = config.images
        self._use = ImageUse(Path(config.used_images)) if config.used_images else None

    def build(self, order: BuildOrder, dockerfile: str, say: Callable[[str], None]) -> str:
        """`dockerfile`: its text; what lies in the context under its name is not read."""
        daemon = self._daemon()
        self._check_filter(daemon)
        check_runc(daemon.components(), self._policy.runc_min)
        parent = build_group(daemon.info(), self._config.platform, self._policy.build_cgroup_parent)
        read = parse_dockerfile(dockerfile)
        pins: dict[str, str] = {}
        for name in read.bases:
            pins[name] = self.obtain(name, order.owner, say)
            self._check_base(daemon, pins[name])
        with make_context(order.context, order.dockerfile, read.text(pins)) as context:
            image_id = _Build(daemon, order, say, parent).run(context)
        self._check(image_id, order)
        self._note(image_id)
        return image_id

    def obtain(self, name: str, owner: str, say: Callable[[str], None]) -> str:
        """The id of an image that this organization may use, fetched where it is not here."""
        daemon = self._daemon()
        found = daemon.image(name) if self._is_known(name, owner) else None
        if found is None:
            found = daemon.image(self._fetch(name, say))
        if found is None:
            raise _unavailable(name, "it was fetched and is not there")
        if _owner(found) not in {None, owner}:
            raise _unavailable(name, "no such image")
        _check_volumes(found)
        self._note(str(found["Id"]))
        say(f"{name} is {found['Id']}")
        return str(found["Id"])

    def runnable(self, image_id: str, organization: str) -> dict[str, Any]:
        """What is known of an image that a task of this organization runs."""
        daemon = self._daemon()
        check_runc(daemon.components(), self._policy.runc_min)
        found = daemon.image(image_id)
        if found is None or _owner(found) not in {None, organization}:
            raise SandboxError("image_unavailable", f"The image {image_id} is not on this node.")
        self._note(image_id)
        return found

    def collect(self) -> None:
        """Let images go that packages have not used for long; they are loaded again from storage when they are."""
        if self._use is not None:
            self._use.collect(self._daemon(), self._policy)

    def _note(self, image_id: str) -> None:
        if self._use is not None:
            self._use.note(image_id)

    def _is_known(self, name: str, owner: str) -> bool:
        """Whether the node's own image of that name may be used: the organization's, or one for everybody."""
        if IMAGE_ID.fullmatch(name):
            return _owner(self._daemon().image(name)) == owner
        plain = name.removesuffix(":latest")
        return any(fnmatchcase(plain, pattern) for pattern in self._policy.node_images)

    def _fetch(self, name: str, say: Callable[[str], None]) -> str:
        reference = Reference.parse(name)
        if reference is None or reference.host not in self._policy.registries:
            raise _unavailable(name, "it is none of this node's, and its registry is not one that the operator allows")
        say(f"Fetching {name}.")
        policy = self._policy
        trusted = ssl.create_default_context(cafile=policy.ca_file or None)
        connector = Connector(AddressPolicy.of(policy.allowed_networks), trusted)
        registry = Registry(connector, reference, policy.pull_bytes, policy.pull_seconds)
        return fetch_image(registry, self.has, self.load)

    def has(self, image_id: str) -> bool:
        return self._daemon().image(image_id) is not None

    def save(self, image_id: str, target: BinaryIO) -> None:
        target.writelines(self._daemon().save(image_id))

    def load(self, archive: BinaryIO) -> None:
        self._daemon().load(archive)

    def _check_filter(self, daemon: Daemon) -> None:
        options = daemon.info().get("SecurityOptions") or []
        has_own = any(
            option.startswith("name=seccomp") and "profile=default" not in option and "profile=" in option
            for option in options
        )
        if not self._config.builds_under_default_filter and not has_own:
            raise InvalidInputError(
                "build_filter_missing",
                "This node's Docker daemon would build under its own default system call filter. The operator starts "
                "it with "
                "--seccomp-profile and our profile (docs/howto/run-on-docker.md), or sets "
                "MECAPY_DOCKER_BUILD_DEFAULT_FILTER=1.",
            )

    def _check_base(self, daemon: Daemon, image_id: str) -> None:
        """Instructions that a base brings along are read by nobody before they are done."""
        found = daemon.image(image_id)
        if found is None or (found.get("Config") or {}).get("OnBuild"):
            raise InvalidInputError(
                "dockerfile_refused", "The Dockerfile is refused: its base image has ONBUILD instructions."
            )

    def _check(self, image_id: str, order: BuildOrder) -> None:
        found = self._daemon().image(image_id)
        if found is None:
            raise SandboxError("image_unavailable", f"The image {image_id} was built and is not there.")
        size = int(found["Size"])
        if size > order.image_bytes:
            self._daemon().remove_image(image_id)
            raise InvalidInputError(
                "image_too_large", f"The image has {size >> 20} MiB, the limit is {order.image_bytes >> 20} MiB."
            )
        _check_volumes(found)


class _Build:
    """One build by the daemon's classic builder, ended when it is too long or fills the disk."""

    def __init__(self, daemon: Daemon, order: BuildOrder, say: Callable[[str], None], parent: str) -> None:
        self._daemon, self._order, self._say, self._parent = daemon, order, say, parent
        self._why = ""
        self._over = threading.Event()
        self._image_id = ""
        self._error = ""
        self._container = ""  # of the step that runs
        self._written = 0  # by the steps before
        self._writes = 0  # by this one

    def run(self, context: BinaryIO) -> str:
        order = self._order
        network = "default" if order.has_network else "none"
        labels = {**order.labels, OWNER_LABEL: order.owner}
        stream = self._daemon.build(
            context,
            order.dockerfile,
            labels=labels,
            network=network,
            memory_bytes=order.memory_mb << 20,
            parent=self._parent,
        )
        watch = threading.Thread(target=self._watch, args=(stream.cut,), name="image-build-watch", daemon=True)
        watch.start()
        try:
            for message in stream:
                self._take(message)
        finally:
            self._over.set()
            watch.join()
            stream.close()
        if self._why:
            raise InvalidInputError("image_build_stopped", f"The build was stopped: {self._why}.")
        if self._error or not self._image_id:
            raise InvalidInputError(
                "image_build_failed", f"The image could not be built: {self._error or 'the daemon ended the build'}"
            )
        return self._image_id

    def _take(self, message: dict[str, object]) -> None:
        aux = message.get("aux")
        if isinstance(aux, dict) and "ID" in aux:
            self._image_id = str(aux["ID"])
        if "error" in message:
            self._error = str(message["error"])[:LINE_CHARACTERS]
        line = str(message.get("stream") or message.get("error") or "").rstrip("\n")
        if running := RUNNING.search(line):
            self._written += self._writes
            self._writes, self._container = 0, running.group(1)
        if line:
            self._say(line[:LINE_CHARACTERS])

    def _watch(self, cut: Callable[[], None]) -> None:
        deadline = time.monotonic() + self._order.seconds
        while not self._over.wait(LOOK_SECONDS):
            if self._container:
                with suppress(SandboxError):
                    self._writes = max(self._writes, self._daemon.written_bytes(self._container))
            used = self._written + self._writes
            if time.monotonic() > deadline:
                self._why = f"it took longer than {self._order.seconds:g} s"
            elif used > self._order.image_bytes:
                self._why = (
                    f"its steps wrote {used >> 20} MiB, the limit of an image is {self._order.image_bytes >> 20} MiB"
                )
            if self._why:
                cut()
                return


def _unavailable(name: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        "image_unavailable", f"The image {name[:200]} is not on this node and cannot be pulled: {why[:500]}"
    )


def _owner(image: Mapping[str, Any] | None) -> str | None:
    """The organization for which an image was built, None where it was built for none."""
    labels = ((image or {}).get("Config") or {}).get("Labels") or {}
    return labels.get(OWNER_LABEL)


class ImageUse:
    """Notes when images of packages were used, as the times of empty files. What is not noted is never removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def note(self, image_id: str) -> None:
        (self._folder / image_id.removeprefix("sha256:")).touch()

    def collect(self, daemon: Daemon, policy: ImagePolicy) -> None:
        used = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
        sizes = {path: int((daemon.image(f"sha256:{path.name}") or {}).get("Size") or 0) for path in used}
        total = sum(sizes.values())
        for path in used:
            is_old = time.time() - path.stat().st_mtime > policy.unused_days * 86400
            if not sizes[path]:
                path.unlink(missing_ok=True)
            elif is_old or total > policy.kept_bytes:
                with suppress(SandboxError):  # a container of it is still there
                    daemon.remove_image(f"sha256:{path.name}", force=False)
                    path.unlink(missing_ok=True)
                    total -= sizes[path]


def _check_volumes(image: dict[str, object]) -> None:
    config = image.get("Config")
    volumes = config.get("Volumes") if isinstance(config, dict) else None
    if volumes:
        raise InvalidInputError(
            "image_has_volumes", f"The image declares volumes ({', '.join(sorted(volumes))}), which nothing limits."
        )


def make_context(folder: Path, dockerfile: str, text: str) -> BinaryIO:
    """The package as the builder gets it: regular files and folders alone, owned by root, with plain modes.

    The Dockerfile has `text`, whatever lies in the folder under its name. No link is followed, also none that is made
    while we read.
    """
    target: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with tarfile.open(fileobj=target, mode="w") as archive:
        for top, folders, names, here in os.fwalk(folder, follow_symlinks=False):
            folders.sort()
            base = os.path.relpath(top, folder)
            for name in sorted([*folders, *names]):
                path = name if base == "." else f"{base}/{name}"
                if path != dockerfile:
                    _add(archive, here, name, path)
        member = tarfile.TarInfo(dockerfile)
        member.size, member.mode = len(text.encode()), 0o644
        archive.addfile(member, io.BytesIO(text.encode()))
    target.seek(0, io.SEEK_SET)
    return target


def _add(archive: tarfile.TarFile, folder: int, name: str, path: str) -> None:
    member = tarfile.TarInfo(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return  # a link, a socket, or gone meanwhile
    try:
        seen = os.fstat(fd)
        if stat.S_ISDIR(seen.st_mode):
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        elif stat.S_ISREG(seen.st_mode):
            member.size, member.mode = seen.st_size, 0o755 if seen.st_mode & 0o100 else 0o644
            with os.fdopen(fd, "rb", closefd=False) as source:
                archive.addfile(member, source)
    finally:
        os.close(fd)
