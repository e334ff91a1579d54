"""What `mecapy doctor` looks at. Each check that fails says in its detail what to do."""

import ctypes
import errno
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.embedded import interpreters, programs, secrets
from mecapy_platform.embedded.durability import check_durability
from mecapy_platform.embedded.layout import Layout
from mecapy_platform.embedded.lock import holder
from mecapy_platform.embedded.postgres import Postgres, PostgresPlace
from mecapy_platform.sandbox.backends import BackendKind
from mecapy_platform.sandbox.base import Check
from mecapy_platform.services.backends import chosen, given
from mecapy_platform.services.places import known_workers
from mecapy_platform.settings import Settings

CONTROLLERS = ("memory", "pids", "cpu")
WITHOUT_CGROUPS = (
    "the memory of a sandbox's processes is summed every 0.1 s instead, and all of them killed above the limit; "
    "processes are limited "
    "per user; CPU is not limited. Start it as root, or under a systemd unit with Delegate=yes."
)
WITHOUT_LANDLOCK = "mounts, namespaces, users and the system call filter hold without this second fence."
LANDLOCK_CREATE_RULESET = 444  # on every architecture
LANDLOCK_SCOPES = 6


def check_all(root: Path, settings: Settings) -> list[Check]:
    """Everything, in the order in which a start needs it."""
    return [
        _versions(),
        _user(),
        _program("PostgreSQL", lambda: programs.postgres_bin() / "postgres"),
        _program("Valkey", programs.valkey_server),
        _program("bubblewrap", programs.bwrap),
        _user_namespaces(),
        _cgroups(),
        _landlock(),
        *check_sandboxes(settings),
        check_durability(settings),
        *_interpreters(),
        _tool(
            "uv",
            "builds environments of packages; install it with: pip install 'mecapy-platform[server]'",
            required=True,
        ),
        _tool("ccx", "CalculiX, for packages that need it; on Debian: apt install calculix-ccx", required=False),
        _disk(root, settings.disk_floor_bytes),
        _running(root),
        *_workers(root),
    ]


def check_sandboxes(settings: Settings) -> list[Check]:
    """Every backend that this deployment uses, on any lane or for images alone."""
    try:
        kinds = chosen(settings).used()
    except MecapyError as error:
        return [Check("sandbox", holds=False, detail=error.message)]
    return [check for kind in kinds for check in check_sandbox(kind, settings)]


def check_sandbox(kind: BackendKind, settings: Settings) -> list[Check]:
    """The self-test that a worker runs before it takes work."""
    backend = kind.name
    try:
        with tempfile.TemporaryDirectory(prefix="mecapy-doctor-") as home:
            told = given(settings, kind, "doctor")
            own = replace(told, home=Path(home), platform="doctor", spawner_socket=None, warm={})
            sandbox = kind.make(own)
            found = sandbox.self_test().checks
            sandbox.close()  # also what is removed in the background
    except MecapyError as error:
        return [Check(f"sandbox {backend}", holds=False, detail=error.message)]
    tried = [Check(f"sandbox {backend}: {item.name}", item.holds, item.detail, item.required) for item in found]
    return tried or [
        Check(
            f"sandbox {backend}",
            holds=False,
            detail="its self-test tried nothing, so nothing is proven. Report this as a fault.",
        )
    ]


def _versions() -> Check:
    try:
        ours = version("mecapy-platform")
    except PackageNotFoundError:
        ours = "not installed"
    return Check(
        "versions",
        holds=True,
        detail=f"mecapy-platform {ours}, Python {platform.python_version()}, Linux {platform.release()}",
    )


def _user() -> Check:
    if os.geteuid() == 0:
        return Check("user", holds=True, detail="root: parts and sandboxes run as separate unprivileged users")
    detail = "ordinary user: all parts and sandboxes share one uid, so namespaces alone separate them"
    return Check("user", holds=True, detail=detail)


def _program(name: str, find: Callable[[], Path]) -> Check:
    try:
        path = find()
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except MecapyError as error:
        return Check(name, holds=False, detail=error.message)
    except (OSError, subprocess.SubprocessError) as error:
        return Check(
            name, holds=False, detail=f"does not start: {error}. Install the [server] extra again for this machine."
        )
    return Check(name, holds=True, detail=answer.splitlines()[0])


def _user_namespaces() -> Check:
    closed = [name for name, path in _NAMESPACE_SWITCHES.items() if _read(path) == "0"]
    closed += ["kernel.apparmor_restrict_unprivileged_userns"] if _read(_APPARMOR_SWITCH) == "1" else []
    if closed:
        what = ", ".join(closed)
        return Check(
            "user namespaces", holds=False, detail=f"closed by {what}. Open it with sysctl, or use the docker backend."
        )
    return Check("user namespaces", holds=True, detail="open")


_NAMESPACE_SWITCHES = {
    "user.max_user_namespaces": Path("/proc/sys/user/max_user_namespaces"),
    "kernel.unprivileged_userns_clone": Path("/proc/sys/kernel/unprivileged_userns_clone"),
}
_APPARMOR_SWITCH = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


def _cgroups() -> Check:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        own = root / _own_group().lstrip("/")
        has_all = set(CONTROLLERS) <= set(_read(own / "cgroup.controllers").split())
        is_writable, kind = has_all and os.access(own, os.W_OK), "v2" if has_all else "v2 without memory, pids and cpu"
    else:
        exist = all((root / name).is_dir() for name in CONTROLLERS)
        is_writable, kind = (
            exist and all(os.access(root / name, os.W_OK) for name in CONTROLLERS),
            "v1" if exist else "none",
        )
    if is_writable:
        return Check(
            "cgroups",
            holds=True,
            detail=f"{kind}, writable: memory and processes of a sandbox are limited as a group",
            required=False,
        )
    return Check(
        "cgroups",
        holds=False,
        detail=f"{kind if kind == 'none' else kind + ', not writable'}: {WITHOUT_CGROUPS}",
        required=False,
    )


def _landlock() -> Check:
    """Asks the kernel for its version of Landlock, as the guest does inside."""
    version = ctypes.CDLL(None, use_errno=True).syscall(
        LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)
    )
    if version >= LANDLOCK_SCOPES:
        return Check(
            "Landlock",
            holds=True,
            detail=f"version {version}: files, signals and abstract sockets once more by rule",
            required=False,
        )
    if version > 0:
        detail = (
            f"version {version}: files once more by rule; signals and abstract sockets are held back by "
            f"namespaces alone"
        )
        return Check("Landlock", holds=True, detail=detail, required=False)
    why = (
        "this kernel is built without it"
        if ctypes.get_errno() == errno.ENOSYS
        else "this kernel was started without it (lsm=landlock,..)"
    )
    return Check("Landlock", holds=False, detail=f"{why}: {WITHOUT_LANDLOCK}", required=False)


def _own_group() -> str:
    lines = (line.split(":", 2) for line in _read(Path("/proc/self/cgroup")).splitlines())
    return next((group for number, _, group in lines if number == "0"), "/")


def _interpreters() -> list[Check]:
    found = interpreters.find()
    return [
        Check(
            f"Python {minor}", holds=True, detail=f"{found[minor].version}, {found[minor].executable}", required=False
        )
        if minor in found
        else Check(
            f"Python {minor}",
            holds=False,
            detail=f"not found: packages for it are refused. Install it (pyenv install {minor}).",
            required=False,
        )
        for minor in interpreters.VERSIONS
    ]


def _tool(name: str, use: str, *, required: bool) -> Check:
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name)
    return Check(name, holds=path is not None, detail=path or f"not found; {use}", required=required)


def _disk(root: Path, floor: int) -> Check:
    place = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / (1 << 30):.1f} GiB free at {place}"
    if free > 2 * floor:
        return Check("disk", holds=True, detail=text)
    return Check(
        "disk",
        holds=False,
        detail=f"{text}; below {floor >> 20} MiB new work waits. Free some space or choose another --data DIR.",
    )


def _running(root: Path) -> Check:
    layout = Layout(root)
    known = holder(layout.lock)
    if known is None:
        return Check("platform", holds=True, detail=f"none runs on {root}; start it with: mecapy up --data {root}")
    try:
        with urlopen(f"{known.url}/ready", timeout=5) as answer:  # noqa: S310 - the address comes from our own lock file
            return Check("platform", holds=answer.status == 200, detail=f"pid {known.pid}, {known.url}")
    except (URLError, OSError, ValueError) as error:
        return Check(
            "platform",
            holds=False,
            detail=(
                f"pid {known.pid} holds {root} but {known.url or 'it'} does not answer ({error}). See {root / 'logs'}."
            ),
        )


def _workers(root: Path) -> list[Check]:
    """What the worker processes of a platform that runs here say of themselves."""
    layout = Layout(root)
    if holder(layout.lock) is None or (values := secrets.read(layout)) is None:
        return []
    place = PostgresPlace(layout.postgres, layout.postgres_run, layout.log("postgresql"))
    database = Database(make_engine(Postgres(place, values.passwords).worker_url, pool_size=1))
    try:
        with database.transaction() as session:
            found = known_workers(session)
    except DatabaseError as error:
        return [Check("workers", holds=False, detail=f"the database does not say: {error.message}")]
    finally:
        database.dispose()
    return [
        Check(f"worker {name}", holds=place.refusal is None, detail=place.refusal or "takes work")
        for name, place in found
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
