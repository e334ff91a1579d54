"""The mounts of one run, in a mount namespace of its own.

A sized tmpfs for everything writable, and reachable sources.
"""

import os
import stat
from pathlib import Path

from mecapy_platform.sandbox.spawner import system
from mecapy_platform.sandbox.spawner.config import RunLimits

FOLDERS = ("out", "out/files", "out/artifacts", "scratch", "tmp", "shm")


class Workspace:
    """`point` is an empty folder of the host.

    In our namespace it carries a tmpfs with the run's files and our binds.
    """

    def __init__(self, point: str) -> None:
        self.point = point
        self.files = f"{point}/files"
        self._count = 0
        system.mount("tmpfs", point, "tmpfs", system.MS_NOSUID | system.MS_NODEV, "size=1m,nr_inodes=200,mode=0755")
        Path(self.files).mkdir(mode=0o755)

    def make_files(self, limits: RunLimits, uid: int | None) -> int:
        """Mount the run's own tmpfs, make its folders for `uid`, and give a descriptor of its top."""
        inodes = limits.disk_files + len(FOLDERS) + 1
        options = f"size={limits.disk_bytes},nr_inodes={inodes},mode=0755"
        system.mount("tmpfs", self.files, "tmpfs", system.MS_NOSUID | system.MS_NODEV, options)
        for name in FOLDERS:
            path = f"{self.files}/{name}"
            Path(path).mkdir()
            Path(path).chmod(0o755)
            if uid is not None:
                os.chown(path, uid, uid)
        return os.open(self.files, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def make_packages(self) -> str:
        """A folder in which packages can be shown later.

        What is bound below it appears in every namespace that shows it.
        """
        folder = f"{self.point}/packages"
        Path(folder).mkdir(mode=0o755)
        system.mount("tmpfs", folder, "tmpfs", system.MS_NOSUID | system.MS_NODEV, "size=1m,nr_inodes=2000,mode=0755")
        system.mount("none", folder, "", system.MS_SHARED)
        return folder

    def show_package(self, path: str, number: int) -> None:
        """Bind a package, read-only, to /packages/<number> of the warm sandbox."""
        target = f"{self.point}/packages/{number}"
        source = system.open_real(path)
        try:
            Path(target).mkdir(mode=0o755)
            system.bind(source, target)
        finally:
            os.close(source)
        system.mount(
            "none",
            target,
            "",
            system.MS_BIND | system.MS_REMOUNT | system.MS_RDONLY | system.MS_NOSUID | system.MS_NODEV,
        )

    def reach(self, path: str) -> str:
        """Bind `path` to a place every user can reach (its parents may be closed to others, as a home is)."""
        source = system.open_real(path)
        try:
            target = Path(f"{self.point}/{self._count}")
            self._count += 1
            if stat.S_ISDIR(os.fstat(source).st_mode):
                target.mkdir()
            else:
                target.touch()
            system.bind(source, str(target))
        finally:
            os.close(source)
        return str(target)

    def reach_program(self, path: str) -> str:
        """Bind the program of a wheel beside the libraries that it looks for from where it lies.

        `$ORIGIN/../../<wheel>.libs`.
        """
        package = Path(path).parent.parent
        libraries = package.with_name(f"{package.name}.libs")
        if not libraries.is_dir():
            return self.reach(path)
        for folder in (package, libraries):
            target = Path(self.point) / folder.name
            target.mkdir()
            system.mount(str(folder), str(target), "", system.MS_BIND)
        return f"{self.point}/{package.name}/{Path(path).relative_to(package)}"
