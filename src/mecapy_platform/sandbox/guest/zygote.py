"""The first process of a warm sandbox: it has loaded what calls will need, and forks a stem for each slot.

Nothing of a tenant runs here.

Standard library and vetted libraries alone. It is told by messages on descriptor 3: a descriptor comes, a stem is
forked that serves it.
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


def main() -> NoReturn:
    import gc
    import socket

    from _mecapy_guest import call, confine, native, preload, quickjson

    confine.hide_from_children()
    order = quickjson.loads(confine.take_arguments())
    libraries, adaptations = preload.preload(order["libraries"])
    setup = call.Setup(confine.file_rules(), bytes.fromhex(order["filter"]), adaptations, has_site=order["site"])
    control = socket.socket(fileno=CONTROL_FD)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what dies here is reaped by the kernel
    native.in_workspace(lambda: call.practise(setup))
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


if __name__ == "__main__":
    main()
