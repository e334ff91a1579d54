"""Reads uploaded zip archives.

Nothing about them is believed: names, sizes and counts are checked, bytes are counted while they come.
"""

import errno
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from mecapy_platform.core.errors import InvalidInputError, MalformedError, Problem, StorageFullError, TooLargeError
from mecapy_platform.storage.zip_directory import check_directory
from mecapy_platform.storage.zip_layout import layout_faults
from mecapy_platform.storage.zip_names import collisions, name_fault

MANIFEST = "mecapy.yml"
MANIFEST_BYTES = 256 * 1024
CHUNK = 1 << 16
RATIO_FREE_BYTES = 4 << 20
FLAG_ENCRYPTED = 0x1 | 0x40 | 0x2000
DOS_LINK = 0x400
PROBLEMS_MAX = 100


@dataclass(frozen=True)
class ArchiveLimits:
    files: int = 10_000
    total_bytes: int = 500 * 1000 * 1000
    ratio: int = 200


@dataclass(frozen=True)
class Extracted:
    """Names relative to the package's root, in the order of the archive."""

    files: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Member:
    """Parts are made when they are asked for: those of ten thousand members would cost more than the directory."""

    info: zipfile.ZipInfo

    @property
    def name(self) -> str:
        return self.info.orig_filename.rstrip("/")

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("/"))


@dataclass(frozen=True)
class _Archive:
    """An open zip; its members lie in the bytes before its directory."""

    file: zipfile.ZipFile
    source: BinaryIO
    directory_start: int


DEFAULT_LIMITS = ArchiveLimits()


def read_manifest(source: BinaryIO, limits: ArchiveLimits = DEFAULT_LIMITS) -> bytes:
    """The text of mecapy.yml at the root, or inside one single top folder.

    Raises MalformedError("archive_unreadable"), InvalidInputError("archive_invalid") with every problem, each naming
    the member, InvalidInputError("manifest_missing"), TooLargeError("archive_too_large").
    """
    with _opened(source, limits) as archive:
        members = _members(archive, limits)
        wanted = "/".join((*_root(members), MANIFEST))
        manifest = next(member for member in members if member.name == wanted and not member.info.is_dir())
        if manifest.info.file_size > MANIFEST_BYTES:
            raise MalformedError("manifest_unreadable", f"{MANIFEST} is larger than {MANIFEST_BYTES // 1024} KiB.")
        return b"".join(_content(archive, manifest, limits))


@contextmanager
def opened_package(
    source: BinaryIO, most_bytes: int, limits: ArchiveLimits = DEFAULT_LIMITS
) -> Iterator[Callable[[str], bytes | None]]:
    """A reader of files by their path from the package's root: at most `most_bytes` and one; None where there is none.

    Raises as read_manifest does.
    """
    with _opened(source, limits) as archive:
        members = {member.name: member for member in _members(archive, limits) if not member.info.is_dir()}
        root = _root(tuple(members.values()))

        def read(name: str) -> bytes | None:
            member = members.get("/".join((*root, name)))
            if member is None:
                return None
            content = bytearray()
            for chunk in _content(archive, member, limits):
                content += chunk
                if len(content) > most_bytes:
                    break
            return bytes(content[: most_bytes + 1])

        yield read


def extract(source: BinaryIO, target_dir: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Extracted:
    """Write the package into an empty directory of ours, its root being where mecapy.yml lies.

    Files are 0644 or 0755, folders 0755.

    Everything the archive says is checked before the first byte is written. When the bytes turn out different (see
    read_manifest for the errors), what was written stays: the caller throws `target_dir` away.
    """
    with _opened(source, limits) as archive:
        members = _members(archive, limits)
        root = _root(members)
        written: list[str] = []
        total = 0
        target = os.open(target_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for member in members:
                parts = member.parts[len(root) :]
                if not parts or member.parts[: len(root)] != root:
                    continue
                if member.info.is_dir():
                    os.close(_folder(target, parts))
                    continue
                total += _write(archive, member, target, parts, limits, limits.total_bytes - total)
                written.append("/".join(parts))
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StorageFullError(
                    "disk_full", "The platform's disk is full; the archive was not unpacked."
                ) from error
            raise
        finally:
            os.close(target)
    return Extracted(tuple(written), total)


@contextmanager
def _opened(source: BinaryIO, limits: ArchiveLimits) -> Iterator[_Archive]:
    directory_start = check_directory(source, limits.files)
    try:
        with zipfile.ZipFile(source) as file:
            yield _Archive(file, source, directory_start)
    except UnicodeDecodeError as error:
        raise _invalid("", "bad_name", "a name says it is UTF-8 and is not.") from error
    except (zipfile.BadZipFile, RuntimeError, zlib.error, EOFError, ValueError) as error:
        raise MalformedError("archive_unreadable", f"The archive is damaged: {error}. Make it again.") from error


def _invalid(name: str, code: str, message: str) -> InvalidInputError:
    return InvalidInputError(
        "archive_invalid",
        f"{_shown(name)}: {message}" if name else message,
        problems=[Problem(_shown(name), code, message)],
    )


def _shown(name: str) -> str:
    return name[:200].encode("unicode_escape").decode("ascii") if not name.isprintable() else name[:200]


def _members(archive: _Archive, limits: ArchiveLimits) -> list[_Member]:
    """Every member but the rubbish of file managers. Raises with every problem, at most a hundred."""
    infos = archive.file.infolist()
    faults = ((info, _fault(info) or _ratio_fault(info, limits)) for info in infos)
    refused = {info.header_offset: fault for info, fault in faults if fault is not None}
    found = [
        _Member(info)
        for info in infos
        if info.header_offset not in refused and not _is_rubbish(info.orig_filename.rstrip("/"))
    ]
    problems, count = _first(_problems(archive, limits, infos, refused, found))
    if problems:
        message = f"{problems[0].path}: {problems[0].message}" + (f" And {count - 1} more." if count > 1 else "")
        raise InvalidInputError("archive_invalid", message, problems=problems)
    if sum(info.file_size for info in infos) > limits.total_bytes:
        raise _too_large(limits)
    return found


def _problems(
    archive: _Archive,
    limits: ArchiveLimits,
    infos: Sequence[zipfile.ZipInfo],
    refused: Mapping[int, tuple[str, str]],
    found: Sequence[_Member],
) -> Iterator[Problem]:
    """Of members by themselves, of their names together, of where they lie."""
    for info in infos:
        if info.header_offset in refused:
            yield Problem(_shown(info.orig_filename), *refused[info.header_offset])
    for name, code, message in collisions(
        ((member.info.orig_filename, member.info.is_dir()) for member in found), 2 * limits.files
    ):
        yield Problem(_shown(name), code, message)
    for info, code, message in layout_faults(archive.source, infos, archive.directory_start):
        if info.header_offset not in refused:
            yield Problem(_shown(info.orig_filename), code, message)


def _first(problems: Iterator[Problem]) -> tuple[list[Problem], int]:
    """Those that are told, and how many there are: ten thousand are not kept."""
    kept = list(islice(problems, PROBLEMS_MAX))
    return kept, len(kept) + sum(1 for _ in problems)


def _is_rubbish(name: str) -> bool:
    return name.startswith("__MACOSX/") or name == "__MACOSX" or name.rpartition("/")[2] == ".DS_Store"


def _too_large(limits: ArchiveLimits) -> TooLargeError:
    return TooLargeError(
        "archive_too_large", f"The unpacked archive is larger than {limits.total_bytes // 1_000_000} MB."
    )


def _fault(info: zipfile.ZipInfo) -> tuple[str, str] | None:
    """What makes a member unacceptable by itself, as code and sentence."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    is_folder = info.orig_filename.endswith("/")
    if info.flag_bits & FLAG_ENCRYPTED:
        return "encrypted", "it is encrypted; make the archive without a password."
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "compression", "its compression is not supported; use deflate."
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR} or info.external_attr & DOS_LINK:
        return "not_a_file", "it is a link, a device or a pipe; only files and folders are taken."
    if (fault := name_fault(info)) is not None:
        return fault
    if (kind and (kind == stat.S_IFDIR) != is_folder) or (is_folder and info.file_size):
        return "not_a_file", "it says both file and folder."
    return None


def _ratio_fault(info: zipfile.ZipInfo, limits: ArchiveLimits) -> tuple[str, str] | None:
    """A bomb that says what it is is refused before anything of it is unpacked; one that lies, while it is."""
    if info.file_size > RATIO_FREE_BYTES and info.file_size > limits.ratio * max(info.compress_size, 1):
        return "ratio", f"it unpacks to more than {limits.ratio} times its size."
    return None


def _root(members: Sequence[_Member]) -> tuple[str, ...]:
    """() or the single top folder, whichever has the manifest."""
    names = {member.name for member in members if not member.info.is_dir()}
    if MANIFEST in names:
        return ()
    tops = {member.name.partition("/")[0] for member in members}
    if len(tops) == 1 and f"{min(tops)}/{MANIFEST}" in names:
        return (min(tops),)
    near = sorted(name for name in names if name.rpartition("/")[2].lower() in {"mecapy.yml", "mecapy.yaml"})
    hint = f" There is {near[0]}." if near else ""
    message = f"There is no {MANIFEST} at the root of the archive, nor inside one single top folder.{hint}"
    raise InvalidInputError("manifest_missing", message, problems=[Problem(MANIFEST, "manifest_missing", message)])


def _content(archive: _Archive, member: _Member, limits: ArchiveLimits) -> Iterator[bytes]:
    """The bytes of a member, counted as they come; the headers must have told the truth."""
    info, count = member.info, 0
    try:
        with archive.file.open(info) as stream:
            while chunk := stream.read(CHUNK):
                count += len(chunk)
                if count > RATIO_FREE_BYTES and count > limits.ratio * max(info.compress_size, 1):
                    raise _invalid(member.name, "ratio", f"it unpacks to more than {limits.ratio} times its size.")
                yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise _invalid(member.name, "damaged", f"it is damaged, or larger than it says ({error}).") from error
    if count != info.file_size:
        raise _invalid(member.name, "damaged", f"it has {count} bytes and says {info.file_size}.")


def _folder(root: int, parts: Sequence[str]) -> int:
    """A descriptor of a folder below `root`, made where it is missing; no link is followed."""
    here = os.dup(root)
    for part in parts:
        try:
            os.mkdir(part, 0o755, dir_fd=here)
        except FileExistsError:
            pass
        else:
            os.chmod(part, 0o755, dir_fd=here)  # noqa: S103 - packages are read by the sandbox's own user
        try:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = inner
    return here


def _write(
    archive: _Archive, member: _Member, root: int, parts: Sequence[str], limits: ArchiveLimits, left_bytes: int
) -> int:
    mode = 0o755 if member.info.create_system == 3 and member.info.external_attr >> 16 & 0o111 else 0o644
    folder = _folder(root, parts[:-1])
    try:
        descriptor = os.open(parts[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=folder)
    finally:
        os.close(folder)
    count = 0
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        for chunk in _content(archive, member, limits):
            count += len(chunk)
            if count > left_bytes:
                raise _too_large(limits)
            file.write(chunk)
    return count
