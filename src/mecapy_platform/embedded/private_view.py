"""A mount namespace for the children of a launcher that root started.

What they need stays at its path, below closed directories too.

A directory that other users cannot traverse (a 0700 home) is covered by an empty 0755 tmpfs, and only the needed paths
are bound into it. Everything happens in a namespace of its own with private propagation: the machine sees no mount, and
the last child takes it along.
"""

import ctypes
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mecapy_platform.core.errors import ConfigurationError

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT = 1, 2, 4, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
LINKS_MAX = 40


@dataclass(frozen=True)
class Need:
    """A path that children reach: read-only unless `is_writable`."""

    path: Path
    is_writable: bool = False


@dataclass
class Plan:
    """What to cover, which links to make again and which real paths to bind, in this order."""

    covers: set[Path] = field(default_factory=set)
    links: dict[Path, str] = field(default_factory=dict)
    binds: dict[Path, bool] = field(default_factory=dict)


class View:
    """The namespace, held open by a descriptor of the launcher."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def enter(self) -> None:
        """In a fresh child that is still root: see what the view shows. The working directory becomes `/`."""
        _checked(LIBC.setns(self._descriptor, CLONE_NEWNS), "setns")

    def close(self) -> None:
        os.close(self._descriptor)


def plan(needs: Sequence[Need]) -> Plan:
    """Find the closed directories above each need, walking its symbolic links as the kernel would."""
    result = Plan()
    for need in needs:
        links, real = _walk(need.path)
        closed = [cover for item in (*links, real) if (cover := _closed_ancestor(item)) is not None]
        if not closed:
            continue
        result.covers.update(closed)
        result.links.update(links)
        if os.path.lexists(real) and real not in links:  # a loop of links leads nowhere
            result.binds[real] = result.binds.get(real, False) or need.is_writable
    result.covers = {item for item in result.covers if not any(other in item.parents for other in result.covers)}
    result.links = {link: to for link, to in result.links.items() if _is_below(link, result.covers)}
    result.binds = {
        path: result.binds[path]
        for path in sorted(result.binds, key=lambda item: len(item.parts))
        if _is_below(path, result.covers)
    }
    return result


def build(needs: Sequence[Need], files: Mapping[Path, Path]) -> View:
    """Make the namespace in a helper child; `files` are laid over existing files (`/etc/passwd`).

    Raises
    ------
    ConfigurationError
        Root without CAP_SYS_ADMIN, or the kernel refuses a mount.
    """
    steps = plan(needs)
    answer_read, answer_write = os.pipe()
    release_read, release_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release_write)
        _helper(steps, files, answer_write, release_read)
    os.close(answer_write)
    os.close(release_read)
    try:
        answer = os.read(answer_read, 4096).decode(errors="replace")
        if answer != "ok":
            raise ConfigurationError(
                "no_private_view",
                f"Started as root, but this root may not make a mount namespace ({answer or 'the helper died'}). "
                "Start it as an ordinary user instead.",
            )
        return View(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
    finally:
        os.close(answer_read)
        os.close(release_write)
        os.waitpid(pid, 0)


def _helper(steps: Plan, files: Mapping[Path, Path], answer: int, release: int) -> None:
    try:
        os.umask(0o022)  # the folders on the way to what children need are there to be passed through
        _checked(LIBC.unshare(CLONE_NEWNS), "unshare")
        _mount(None, "/", None, MS_REC | MS_PRIVATE)
        os.chdir("/")
        _apply(steps)
        for target, source in files.items():
            if target.exists():
                _mount(str(source), str(target.resolve()), None, MS_BIND)
        os.write(answer, b"ok")
        os.read(release, 1)
    except OSError as error:
        os.write(answer, str(error).encode()[:4000])
    finally:
        os._exit(0)


def _apply(steps: Plan) -> None:
    sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in steps.binds}
    kinds = {path: stat.S_ISDIR(os.fstat(descriptor).st_mode) for path, descriptor in sources.items()}
    for cover in steps.covers:
        _mount("tmpfs", str(cover), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m,nr_inodes=4096")
    for path, is_writable in steps.binds.items():
        if is_writable or not path.exists():  # a read-only one may already show through the bind of a parent
            _make_target(path, is_directory=kinds[path])
            _mount(f"/proc/self/fd/{sources[path]}", str(path), None, MS_BIND | MS_REC)
            if not is_writable:
                _mount(None, str(path), None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    for link, to in steps.links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(link):
            link.symlink_to(to)
    for cover in steps.covers:
        _mount(None, str(cover), None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _make_target(path: Path, *, is_directory: bool) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_directory:
        path.mkdir()
    else:
        path.touch()


def _walk(path: Path) -> tuple[dict[Path, str], Path]:
    """The links met on the way to `path`, and where it really lies."""
    links: dict[Path, str] = {}
    pending = list(path.absolute().parts[1:])
    here = Path("/")
    followed = 0
    while pending and followed <= LINKS_MAX:
        part = pending.pop(0)
        here = here.parent if part == ".." else here / part
        if here.is_symlink():
            to = str(here.readlink())
            links[here] = to
            followed += 1
            pending = [item for item in Path(to).parts if item != "/"] + pending
            here = Path("/") if to.startswith("/") else here.parent
    return links, here


def _closed_ancestor(path: Path) -> Path | None:
    """The outermost directory above `path` that other users cannot traverse."""
    for directory in reversed(path.parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def _is_below(path: Path, covers: set[Path]) -> bool:
    return any(cover in path.parents for cover in covers)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    raw = [None if item is None else item.encode() for item in (source, target, kind, data)]
    _checked(LIBC.mount(raw[0], raw[1], raw[2], ctypes.c_ulong(flags), raw[3]), f"mount {target}")


def _checked(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
