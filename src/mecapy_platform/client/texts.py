"""What the text of a package already shows, said before anything is sent: the rules are those of the platform."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mecapy_platform.client.archive import MANIFEST, package_files, read_manifest
from mecapy_platform.core.manifest import Manifest
from mecapy_platform.core.requirements import MAX_BYTES, read_requirements


def checked_manifest(path: Path) -> Manifest:
    """The manifest of a folder or zip, whose requirements are read too.

    Raises InvalidInputError with every problem of the manifest, else with every one of the requirements.
    """
    manifest = read_manifest(path)
    if manifest.runtime.requirements:
        with _opened(path) as read:
            read_requirements(read)
    return manifest


@contextmanager
def _opened(path: Path) -> Iterator[Callable[[str], bytes | None]]:
    """A reader of files by their path within the package, of what would be sent and nothing else."""
    if path.is_dir():
        files = {file.relative_to(path).as_posix(): file for file in package_files(path)}

        def read(name: str) -> bytes | None:
            if name not in files:
                return None
            with files[name].open("rb") as stream:
                return stream.read(MAX_BYTES + 1)

        yield read
        return
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        root = min((name for name in names if name.rpartition("/")[2] == MANIFEST), key=len).removesuffix(MANIFEST)

        def read_member(name: str) -> bytes | None:
            if root + name not in names:
                return None
            with archive.open(root + name) as stream:
                return stream.read(MAX_BYTES + 1)

        yield read_member
