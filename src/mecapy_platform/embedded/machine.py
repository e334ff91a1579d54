"""What a start finds and makes on the machine before any part runs: secrets, users, directories, the private view."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mecapy_platform
from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.embedded import interpreters, secrets, uids
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.embedded.layout import Layout, write_atomically
from mecapy_platform.embedded.parts import Fork, Surroundings
from mecapy_platform.embedded.private_view import Need, View, build
from mecapy_platform.embedded.uids import Users

# Variables that name files which children read: certificates, package indexes
PATH_VARIABLES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "PIP_CONFIG_FILE",
    "UV_CONFIG_FILE",
    "PIP_FIND_LINKS",
    "UV_FIND_LINKS",
)


@dataclass(frozen=True)
class Machine:
    """`view` is None where an ordinary user started us: then every path is as reachable for children as for us."""

    secrets: secrets.Secrets
    users: Users
    interpreters: tuple[Interpreter, ...]
    view: View | None = None

    @property
    def enter(self) -> Callable[[], None] | None:
        return None if self.view is None else self.view.enter

    def close(self) -> None:
        if self.view is not None:
            self.view.close()
        if self.users.lock is not None:
            os.close(self.users.lock)


def prepare_machine(layout: Layout) -> Machine:
    """Make or check everything that a data directory needs before the first part starts."""
    values = secrets.read(layout)
    is_root = os.geteuid() == 0
    if values is not None and (values.uid_block is not None) != is_root:
        who = "an ordinary user" if is_root else "root"
        raise ConfigurationError(
            "data_of_other_user",
            f"{layout.root} was made by {who}. Start it as that user, or use another --data directory.",
        )
    users = uids.allocate(values.uid_block if values else None) if is_root else uids.ordinary()
    if values is None:
        values = secrets.generate()
    elif values.uid_block is not None and values.uid_block != users.block:
        uids.move_owner(layout.root, uids.at_block(values.uid_block), users)
    values = replace(values, uid_block=users.block)
    layout.make(users)
    layout.rotate_logs()
    secrets.store(layout, values)
    secrets.ensure_issuer_key(layout)
    found = tuple(interpreters.find().values())
    machine = Machine(values, users, found)
    return replace(machine, view=_view(layout, machine)) if is_root else machine


def _view(layout: Layout, machine: Machine) -> View:
    passwd, group = layout.run / "passwd", layout.run / "group"
    write_atomically(passwd, machine.users.passwd(Path("/etc/passwd").read_text()), 0o644)
    write_atomically(group, machine.users.group(Path("/etc/group").read_text()), 0o644)
    view = build(
        [Need(layout.root, is_writable=True), *_needs(machine)],
        {Path("/etc/passwd"): passwd, Path("/etc/group"): group},
    )
    code = Path(mecapy_platform.__file__)
    probe = Fork.start(
        lambda: _require(code, Path(sys.executable)),
        Surroundings(layout.log("view"), machine.users.service, layout.home, view.enter),
    )
    if probe.wait() != 0:
        raise ConfigurationError(
            "code_unreadable",
            f"Started as root, the platform's parts run as other users, and these cannot read {sys.prefix} or "
            f"{code.parent}. "
            f"Let them (chmod -R o+rX on both) or start it as an ordinary user.",
        )
    return view


def _require(code: Path, executable: Path) -> None:
    sys.exit(0 if os.access(code, os.R_OK) and os.access(executable, os.X_OK) else 1)


def _needs(machine: Machine) -> Iterator[Need]:
    """All that children import or start, where it lies outside the system's own open directories."""
    yield from (
        Need(Path(path))
        for path in dict.fromkeys((sys.prefix, sys.base_prefix, *sys.path))
        if path and Path(path).exists()
    )
    yield from (Need(interpreter.prefix) for interpreter in machine.interpreters)
    for variable in PATH_VARIABLES:
        value = os.environ.get(variable, "")
        if value.startswith("/") and Path(value).exists():
            yield Need(Path(value))
