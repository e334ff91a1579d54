"""Names of a zip's members: which are refused by themselves, and which collide on some file system of an engineer."""

import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mecapy_platform.core.errors import TooLargeError

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
MAX_LEVELS = 32
FLAG_UTF8 = 0x800
FIELD_UNICODE_PATH = 0x7075
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, direction marks, halves of pairs, line ends
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"
}


@dataclass(slots=True)
class _Place:
    """A name in a folder, as it was first spelled."""

    spelled: str
    is_file: bool = False
    is_folder: bool = False
    inside: dict[str, "_Place"] = field(default_factory=dict)


def name_fault(info: zipfile.ZipInfo) -> tuple[str, str] | None:
    """What makes a name unacceptable by itself, as code and sentence."""
    name = info.orig_filename
    if not info.flag_bits & FLAG_UTF8 and not name.isascii():
        return "bad_name", "its name is not marked as UTF-8; make the archive with a tool that writes UTF-8 names."
    if not name.isprintable() and any(unicodedata.category(letter) in UNSEEN for letter in name):
        return "bad_name", "its name has control characters, or others that are not seen."
    if _field(info.extra, FIELD_UNICODE_PATH) not in {None, name.encode()}:
        return "bad_name", "it has a second name, in its extra field."
    return _path_fault(name)


def _path_fault(name: str) -> tuple[str, str] | None:
    if "\\" in name or name.startswith("/") or ":" in name:
        return "bad_path", "its name is absolute, or has a drive, a colon or a backslash."
    parts = name.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return "bad_path", "its name leaves the archive, or has an empty part."
    if (
        len(name.encode()) > MAX_PATH_BYTES
        or len(parts) > MAX_LEVELS
        or any(len(part.encode()) > MAX_NAME_BYTES for part in parts)
    ):
        return "bad_name", "its name is too long or too deep."
    if any(part[-1] in " ." or _folded(part).partition(".")[0].rstrip() in DEVICES for part in parts):
        return "bad_name", "Windows has no such file name: it is a device's, or ends in a dot or a space."
    return None


def collisions(names: Iterable[tuple[str, bool]], most: int) -> Iterator[tuple[str, str, str]]:
    """Of names with "is a folder".

    Those there twice, that differ in case or in the form of a letter alone, or that are file and folder.

    Raises TooLargeError("archive_too_many_files") above `most` files and folders, those that no member names by itself
    included.
    """
    top, count = _Place("", is_folder=True), 0
    for name, is_folder in names:
        here, parts = top, name.rstrip("/").split("/")
        for index, part in enumerate(parts):
            here.is_folder = True
            place = here.inside.get(_folded(part))
            if place is None:
                place = here.inside[_folded(part)] = _Place(part)
                count += 1
                if count > most:
                    raise TooLargeError(
                        "archive_too_many_files", f"The archive has more than {most} files and folders."
                    )
            if place.spelled != part:
                other = "/".join([*parts[:index], place.spelled])
                yield name, "case_collision", f"it differs from {other} in case or in the form of a letter alone."
                break
            here = place
        else:
            if here.is_file and not is_folder:
                yield name, "duplicate", "it is there twice."
            here.is_file, here.is_folder = here.is_file or not is_folder, here.is_folder or is_folder
    yield from _both(top, "")


def _both(place: _Place, path: str) -> Iterator[tuple[str, str, str]]:
    for inner in place.inside.values():
        name = f"{path}{inner.spelled}"
        if inner.is_file and inner.is_folder:
            yield name, "duplicate", "it is a file and a folder at once."
        yield from _both(inner, f"{name}/")


def _folded(part: str) -> str:
    """Equal for names that some file system takes for one."""
    if part.isascii():
        return part.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", part).casefold())


def _field(extra: bytes, wanted: int) -> bytes | None:
    """The name in a Unicode path field, after its version and checksum."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if kind == wanted:
            return extra[at + 9 : at + 4 + size]
        at += 4 + size
    return None
