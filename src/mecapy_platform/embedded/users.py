"""A user of the machine that a part runs as, and the step a child takes to become it."""

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CLOSED_UMASK = 0o077  # of every part: what others may read is opened by name, where it is made
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class User:
    """A host uid with the group of the same number and a name for /etc/passwd."""

    name: str
    uid: int
    groups: tuple[int, ...] = ()  # more groups, such as the one that may reach the Docker daemon

    def own(self, path: Path, group: "User | None" = None) -> None:
        """Hand over one path; only root can and needs to."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, (group or self).uid, follow_symlinks=False)

    def write_file(self, path: Path, text: str) -> None:
        """A new file of theirs alone, in a folder of theirs: what lies there is removed, and never followed."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            if os.geteuid() == 0:
                os.fchown(descriptor, self.uid, self.uid)

    def make_directory(self, path: Path, mode: int = 0o700, group: "User | None" = None) -> Path:
        """`group`: whose group it has, where that is not our own."""
        path.mkdir(mode=0o700, exist_ok=True)
        self.own(path, group)
        path.chmod(mode)
        return path


def current() -> User:
    return User("mecapy", os.geteuid())


def become(user: User | None, death_signal: signal.Signals, parent: int) -> None:
    """In a fresh child: drop to `user` for good, then die with the parent.

    The order matters: a change of uid clears the signal.
    """
    if user is not None and user.uid != os.geteuid():
        os.setgroups(user.groups)
        os.setresgid(user.uid, user.uid, user.uid)
        os.setresuid(user.uid, user.uid, user.uid)
    LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # a fork that changed its uid cannot read its own /proc otherwise
    if os.getppid() != parent:
        os._exit(70)


def becoming(
    user: User | None, death_signal: signal.Signals, before: Callable[[], None] | None = None
) -> Callable[[], None]:
    """`preexec_fn` of a part that is its own program; `before` runs while still privileged."""
    parent = os.getpid()

    def step() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(CLOSED_UMASK)
        if before is not None:
            before()
        become(user, death_signal, parent)

    return step
