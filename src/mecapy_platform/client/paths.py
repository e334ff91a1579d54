"""Names given by a server become paths below one directory, on every operating system, or are refused."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from mecapy_platform.core.errors import InvalidInputError

RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)", re.IGNORECASE)
FORBIDDEN_ON_WINDOWS = re.compile(r'[<>:"|?*\\]')
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass
class Claimed:
    """The paths handed out so far, compared as the most forgetful file system would."""

    paths: set[str] = field(default_factory=set)

    def take(self, path: Path) -> Path:
        """The path itself, or with a number in its stem when it is taken."""
        candidate, number = path, 1
        while (key := os.fspath(candidate).casefold()) in self.paths:
            number += 1
            candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
        self.paths.add(key)
        return candidate


def safe_parts(name: str, *, is_windows: bool) -> tuple[str, ...]:
    """The components of a relative name, mended where only the spelling is wrong; raises when it points elsewhere."""
    unified = name.replace("\\", "/") if is_windows else name
    parts = [part for part in unified.split("/") if part not in {"", "."}]
    is_absolute = unified.startswith("/") or bool(re.match(r"^[A-Za-z]:", unified))
    if not parts or ".." in parts or is_absolute:
        raise InvalidInputError(
            "unsafe_name",
            f"The platform names a file {name!r}, which points outside the target directory. It was not downloaded.",
        )
    return tuple(_mended(part, is_windows=is_windows) for part in parts)


def safe_target(directory: Path, name: str, claimed: Claimed) -> Path:
    """A path below `directory` for `name`, its parents made. Links on the way that lead out are refused."""
    root = directory.resolve()
    target = claimed.take(root.joinpath(*safe_parts(name, is_windows=os.name == "nt")))
    _make_parents(root, target.parent)
    if not target.parent.resolve().is_relative_to(root):
        raise InvalidInputError(
            "unsafe_name", f"{target.parent} is a link that leads out of {root}. Nothing was written there."
        )
    return target


def _make_parents(root: Path, parent: Path) -> None:
    """Make each directory in turn, so that nothing is made behind a link that leads out."""
    root.mkdir(parents=True, exist_ok=True)
    here = root
    for part in parent.relative_to(root).parts:
        here /= part
        if here.is_symlink() and not here.resolve().is_relative_to(root):
            return
        here.mkdir(exist_ok=True)


def _mended(part: str, *, is_windows: bool) -> str:
    clean = CONTROL.sub("_", part)
    if not is_windows:
        return clean
    clean = FORBIDDEN_ON_WINDOWS.sub("_", clean).rstrip(". ") or "_"
    return f"_{clean}" if RESERVED.match(clean) else clean
