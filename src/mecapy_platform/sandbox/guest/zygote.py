"""The first process of a warm sandbox: it has loaded what calls will need, and forks a stem for each slot. Nothing of a tenant runs here.

Standard library and vetted libraries alone. It is told by messages on descriptor 3: a descriptor comes, a stem is forked that serves it.
"""

from __future__ import annotations

import os
import signal
import sys

sys.path.insert(0, "/mecapy")

TYPE_CHECKING = False  # `typing` itself is not imported before it is known to be wanted
if TYPE_CHECKING:
    import socket
    from typing import NoReturn

    from _mecapy_guest import call

CONTROL_FD = 3
NULL_FD = 0
COMMON = ("json", "math", "re", "typing", "dataclasses", "enum", "collections", "functools", "itertools", "pathlib")
VETTED_FOLDER = "/vetted"


def main() -> NoReturn:
    import gc
    import socket

    from _mecapy_guest import call, confine, native, quickjson

    confine.hide_from_children()
    order = quickjson.loads(sys.argv[1])
    libraries = preload(order["libraries"])
    setup = call.Setup(confine.file_rules(), bytes.fromhex(order["filter"]), has_site=order["site"])
    control = socket.socket(fileno=CONTROL_FD)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what dies here is reaped by the kernel
    gc.collect()
    gc.freeze()
    native.rehearse(lambda: call.rehearse(setup))
    control.send(quickjson.dumps(setup.described() | {"libraries": libraries}).encode())
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(control, 16, 1)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            _be_a_stem(control, descriptors[0], setup)
        for descriptor in descriptors:
            os.close(descriptor)


def _be_a_stem(control: socket.socket, descriptor: int, setup: call.Setup) -> NoReturn:
    """Serve a slot; what returns from that with True is the worker of a call."""
    from _mecapy_guest import call, native

    code = 1
    try:
        control.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = call.serve(setup) if call.is_wanted(descriptor) and native.serve_slot(descriptor) else 0
    except OSError as error:
        os.write(2, f"warm sandbox: a slot ended: {error}\n".encode())
    finally:
        os._exit(code)


def preload(libraries: list[str]) -> list[str]:
    """Import what calls use again and again. A library that cannot be imported is left to the calls; gives what was."""
    import importlib

    for name in COMMON:
        importlib.import_module(name)
    from _mecapy_guest import call, results, runner  # noqa: F401 - loaded for the calls

    loaded = []
    if libraries:
        sys.path.insert(0, VETTED_FOLDER)
    for name in libraries:
        try:
            importlib.import_module(name)
            loaded.append(name)
        except Exception:  # noqa: BLE001 - whatever is wrong with it shows in the call that imports it
            sys.modules.pop(name, None)
    if libraries:
        sys.path.remove(VETTED_FOLDER)
    if "numpy" in loaded:
        call.warm_up_numpy()
    return loaded


if __name__ == "__main__":
    main()
