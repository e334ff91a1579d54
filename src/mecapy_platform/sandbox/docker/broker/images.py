"""Builds, pulls, keeps and loads images through the daemon.

What runs while an image is built is tenants' code, as root of a container.
"""

import io
import os
import re
import stat
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mecapy_platform.core.errors import InvalidInputError, SandboxError
from mecapy_platform.sandbox.docker.broker.daemon import Daemon
from mecapy_platform.sandbox.dockerfile import parse_dockerfile
from mecapy_platform.sandbox.images import BuildOrder

OWNER_LABEL = "mecapy.organization"
RUNNING = re.compile(r"---> Running in ([0-9a-f]{12})")
LOOK_SECONDS = 0.5
LINE_CHARACTERS = 2000


class DockerImages:
    """`needs_own_filter`: refuse to build where the daemon would run it under its own default system call filter."""

    def __init__(self, daemon: Callable[[], Daemon], *, needs_own_filter: bool = True) -> None:
        self._daemon = daemon
        self._needs_own_filter = needs_own_filter

    def build(self, order: BuildOrder, dockerfile: str, say: Callable[[str], None]) -> str:
        """`dockerfile`: its text; what lies in the context under its name is not read."""
        daemon = self._daemon()
        self._check_filter(daemon)
        read = parse_dockerfile(dockerfile)
        pins: dict[str, str] = {}
        for name in read.bases:
            pins[name] = self.obtain(name, order.owner, say)
            self._check_base(daemon, pins[name])
        with make_context(order.context, order.dockerfile, read.text(pins)) as context:
            image_id = _Build(daemon, order, say).run(context)
        self._check(image_id, order)
        return image_id

    def obtain(self, name: str, owner: str, say: Callable[[str], None]) -> str:
        daemon = self._daemon()
        self._check_owner(name, owner)
        found = daemon.image(name)
        if found is None:
            say(f"Pulling {name}.")
            try:
                daemon.pull(name)
            except SandboxError as error:
                raise _unavailable(name, error.message) from error
            found = daemon.image(name)
        if found is None:
            raise _unavailable(name, "it was pulled and is not there")
        self._check_owner(str(found["Id"]), owner)
        _check_volumes(found)
        say(f"{name} is {', '.join(found.get('RepoDigests') or [])} {found['Id']}".replace("  ", " "))
        return str(found["Id"])

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
        if self._needs_own_filter and not has_own:
            raise InvalidInputError(
                "build_filter_missing",
                "This node's Docker daemon would build under its own default system call filter. The operator starts "
                "it with "
                "--seccomp-profile and our profile (docs/howto/run-on-docker.md), or sets "
                "MECAPY_DOCKER_BUILD_DEFAULT_FILTER=1.",
            )

    def _check_owner(self, name: str, owner: str) -> None:
        """An image that was built for another organization does not exist for this one."""
        found = self._daemon().image(name)
        label = ((found or {}).get("Config") or {}).get("Labels") or {}
        if label.get(OWNER_LABEL, owner) != owner:
            raise _unavailable(name, "no such image")

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

    def __init__(self, daemon: Daemon, order: BuildOrder, say: Callable[[str], None]) -> None:
        self._daemon, self._order, self._say = daemon, order, say
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
            context, order.dockerfile, labels=labels, network=network, memory_bytes=order.memory_mb << 20
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
