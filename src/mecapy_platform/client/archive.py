"""A package folder as a zip: the same bytes for the same content, and nothing that does not belong to it."""

import fnmatch
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.core.errors import InvalidInputError, MalformedError, NotFoundError, Problem, TooLargeError
from mecapy_platform.core.manifest import Manifest, parse_manifest

MANIFEST = "mecapy.yml"
LIMIT_BYTES = 50 * 1000 * 1000
MANIFEST_BYTES = 1 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)
ALWAYS_LEFT_OUT = (
    ".git/",
    ".hg/",
    ".svn/",
    ".venv/",
    "venv/",
    ".tox/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".pytest_cache/",
    ".ipynb_checkpoints/",
    "__pycache__/",
    "node_modules/",
    ".mecapy/",
    "*.pyc",
    ".DS_Store",
    "Thumbs.db",
    ".env",
)


@dataclass(frozen=True)
class Rule:
    """One line of an ignore file, relative to the folder that holds it."""

    pattern: str
    base: str = ""
    keeps: bool = False
    only_folders: bool = False
    is_anchored: bool = False

    def matches(self, path: str, *, is_folder: bool) -> bool:
        if self.only_folders and not is_folder:
            return False
        if self.base and not path.startswith(f"{self.base}/"):
            return False
        inner = path[len(self.base) + 1 :] if self.base else path
        return (
            _matches(self.pattern, inner)
            if self.is_anchored
            else fnmatch.fnmatchcase(inner.rpartition("/")[2], self.pattern)
        )


def read_manifest(path: Path) -> Manifest:
    """The manifest of a folder or of a zip (also inside its one top folder), with all its problems at once."""
    if path.is_dir():
        file = path / MANIFEST
        if not file.is_file():
            raise InvalidInputError(
                "manifest_missing", f"{path} has no {MANIFEST}. Write a new package with: mecapy init PATH"
            )
        return parse_manifest(file.read_bytes())
    if not path.exists():
        raise NotFoundError("path_not_found", f"There is no {path}. Name a folder with a {MANIFEST}, or a zip of one.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted((name for name in archive.namelist() if _is_manifest(name)), key=len)
            if not names:
                raise InvalidInputError("manifest_missing", f"{path} holds no {MANIFEST} at its top.")
            with archive.open(names[0]) as stream:
                return parse_manifest(stream.read(MANIFEST_BYTES))
    except zipfile.BadZipFile as error:
        raise MalformedError("not_a_zip", f"{path} is neither a folder nor a zip.") from error


def write_zip(folder: Path, target: Path, *, limit_bytes: int = LIMIT_BYTES) -> int:
    """Zip `folder` into `target`; gives the size in bytes. The same content gives the same bytes.

    Raises InvalidInputError without a manifest, or for links that lead out of the folder (all of them named),
    TooLargeError above `limit_bytes`.
    """
    if not (folder / MANIFEST).is_file():
        raise InvalidInputError(
            "manifest_missing", f"{folder} has no {MANIFEST}. Write a new package with: mecapy init PATH"
        )
    files = package_files(folder)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in files:
            _add(archive, folder, path)
            if target.stat().st_size > limit_bytes:
                break
    size = target.stat().st_size
    if size > limit_bytes:
        raise TooLargeError("archive_too_large", _too_large(folder, files, limit_bytes))
    return size


def check_size(archive: Path, *, limit_bytes: int = LIMIT_BYTES) -> int:
    """The size of a zip made by somebody else; TooLargeError above the limit, before anything is sent."""
    size = archive.stat().st_size
    if size > limit_bytes:
        message = (
            f"{archive.name} has {size / 1e6:.1f} MB; a package has at most {limit_bytes / 1e6:.0f} MB. Pass "
            f"large data as File inputs."
        )
        raise TooLargeError("archive_too_large", message)
    return size


def package_files(folder: Path) -> list[Path]:
    """What belongs to the package, sorted: ignore files honoured, links out of the folder and special files refused."""
    problems: list[Problem] = []
    root = folder.resolve()
    rules = tuple(_rule(line) for line in ALWAYS_LEFT_OUT)
    found = sorted(_walk(root, "", rules, problems), key=lambda path: path.relative_to(root).as_posix())
    if problems:
        raise InvalidInputError(
            "archive_links",
            "The folder holds things that cannot be packed. Copy them in, or ignore them.",
            problems=problems,
        )
    return [folder / path.relative_to(root) for path in found]


def _walk(root: Path, inner: str, rules: tuple[Rule, ...], problems: list[Problem]) -> Iterator[Path]:
    here = root / inner
    rules += tuple(rule for name in (".gitignore", ".mecapyignore") for rule in _read_rules(here / name, inner))
    for entry in sorted(os.scandir(here), key=lambda item: item.name):
        path = f"{inner}/{entry.name}" if inner else entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if _is_ignored(path, rules, is_folder=is_folder):
            continue
        if entry.is_symlink():
            target = Path(entry.path).resolve()
            if not target.is_relative_to(root) or not target.is_file():
                problems.append(
                    Problem(
                        path,
                        "link_outside",
                        f"is a link to {Path(entry.path).readlink()}, which is no file of this folder",
                    )
                )
                continue
            yield Path(entry.path)
        elif is_folder:
            yield from _walk(root, path, rules, problems)
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
        else:
            problems.append(Problem(path, "not_a_file", "is neither a file nor a folder"))


def _is_manifest(name: str) -> bool:
    return name == MANIFEST or (name.endswith(f"/{MANIFEST}") and name.count("/") == 1)


def _add(archive: zipfile.ZipFile, folder: Path, path: Path) -> None:
    info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # the same on every machine
    is_executable = bool(path.stat().st_mode & stat.S_IXUSR) and os.name != "nt"
    info.external_attr = (stat.S_IFREG | (0o755 if is_executable else 0o644)) << 16
    with path.open("rb") as source, archive.open(info, "w") as sink:
        while chunk := source.read(1 << 20):
            sink.write(chunk)


def _read_rules(path: Path, base: str) -> list[Rule]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [_rule(line.strip(), base) for line in lines if line.strip() and not line.startswith("#")]


def _rule(line: str, base: str = "") -> Rule:
    keeps = line.startswith("!")
    pattern = line.removeprefix("!")
    only_folders = pattern.endswith("/")
    pattern = pattern.rstrip("/").removeprefix("**/")
    is_anchored = "/" in pattern
    return Rule(pattern.removeprefix("/"), base, keeps, only_folders, is_anchored)


def _is_ignored(path: str, rules: tuple[Rule, ...], *, is_folder: bool) -> bool:
    """The last rule that matches decides, as in git."""
    last = next((rule for rule in reversed(rules) if rule.matches(path, is_folder=is_folder)), None)
    return last is not None and not last.keeps


def _matches(pattern: str, path: str) -> bool:
    """Anchored patterns: `*` stays inside one component, `**` spans any number of them."""
    return _match_parts(pattern.split("/"), path.split("/"))


def _match_parts(pattern: list[str], parts: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_match_parts(pattern[1:], parts[skipped:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _match_parts(pattern[1:], parts[1:])


def _too_large(folder: Path, files: list[Path], limit_bytes: int) -> str:
    largest = sorted(files, key=lambda path: path.stat().st_size, reverse=True)[:3]
    named = ", ".join(f"{path.relative_to(folder).as_posix()} ({path.stat().st_size / 1e6:.1f} MB)" for path in largest)
    return (
        f"The package is larger than {limit_bytes / 1e6:.0f} MB. Its largest files: {named}. List what to leave "
        f"out in .mecapyignore."
    )
