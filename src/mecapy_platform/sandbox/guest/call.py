"""The worker of one warm call: confines itself, takes its order, runs the handler, ends.

Its namespaces, workspace and descriptors are made before it comes here. Everything before `native.seal` is ours. The
tenant's code is imported after it, ahead of the call where the order says so.
"""

from __future__ import annotations

import importlib
import os
import resource
import socket
import sys

from _mecapy_guest import native, quickjson, runner

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from typing import Any

    from _mecapy_guest.confine import FileRules
    from _mecapy_guest.preload import Adapt

ORDER_FD, DATA_FD, REPORT_FD = 3, 4, 5
ORDER_BYTES = 1 << 18
MAX_FILES = 200
PAGE = resource.getpagesize()
EXTRA_INODES = 9  # the folders of a workspace, and in/data.json


REHEARSAL = """{"mode": "python", "handler": "rehearsal:answer", "site": false,
"files": {"required": [], "optional": []},
"environment": {"MECAPY_MEM_LIMIT_MB": "512"}, "limits": {"open_files": 1024, "disk_bytes": 1048576, "disk_files": 100},
"inputs": "{\\"load\\": 1.5, \\"name\\": \\"a\\"}", "names": []}"""


ROUNDS = 20


class Setup:
    """What every call of a zygote shares.

    Landlock's rules, the filter of the last step, whether there are site-packages, variables.
    """

    def __init__(self, rules: FileRules, program: bytes, adaptations: list[Adapt], *, has_site: bool) -> None:
        self.rules = rules
        self.program = program
        self.adaptations = adaptations  # what loaded libraries need in each call
        self.has_site = has_site
        self.variables = dict(os.environ)

    def described(self) -> dict[str, object]:
        return {"native": native.IS_NATIVE, "landlock": self.rules[0] != 0, "python": sys.version.split()[0]}


def is_wanted(descriptor: int) -> bool:
    """Say hello, with the pid that the kernel adds; then wait until the slot is in its control groups."""
    native.become_stem()
    channel = socket.socket(fileno=descriptor)
    channel.send(b"hello")
    answer = channel.recv(16)
    channel.detach()
    return answer == b"go"


def serve(setup: Setup) -> int:
    """The worker's life from its order to its end: the exit code."""
    orders = socket.socket(fileno=ORDER_FD)
    message, descriptors, _flags, _address = socket.recv_fds(orders, ORDER_BYTES, MAX_FILES)
    if not message:
        return 0
    order = quickjson.loads(message.decode())
    is_shared = "shared" in order and native.IS_NATIVE
    is_ahead = "inputs" not in order
    calls = order.get("reuse", 0) if is_ahead and native.IS_NATIVE else 0  # the steps in Python keep no worker
    first_closed = REPORT_FD + 1 if calls or is_shared else DATA_FD + 1 if is_ahead else ORDER_FD
    try:
        _confine(order, descriptors, setup, is_ahead=is_ahead, first_closed=first_closed)
    except OSError as error:  # ours: nothing of the tenant has run yet, and the channel is still open
        orders.send(f"the call could not be confined: {error}".encode()[:1000])
        return 1
    if not is_ahead:
        orders.detach()
    _become(order, setup)
    if is_shared:
        return _serve_shared(orders, order, setup)
    if calls:
        return _serve_calls(orders, order, calls)
    loaded = None
    if is_ahead:
        loaded = runner.Loaded(order["handler"], has_site=order["site"])
        _wait_for_inputs(orders)
    code: int = runner.run(order, loaded)
    return code


def _serve_calls(orders: socket.socket, order: dict[str, Any], calls: int) -> int:
    from _mecapy_guest import reuse

    code: int = reuse.serve(orders, socket.socket(fileno=REPORT_FD), DATA_FD, order, calls)
    return code


def _serve_shared(orders: socket.socket, order: dict[str, Any], setup: Setup) -> int:
    from _mecapy_guest import shared

    orders.close()
    os.close(DATA_FD)
    code: int = shared.serve(REPORT_FD, order, setup)
    return code


def _confine(order: dict[str, Any], descriptors: list[int], setup: Setup, *, is_ahead: bool, first_closed: int) -> None:
    """Inputs, limits, locks. Inputs take nothing of the room that a call has for its own files."""
    limits = order["limits"]
    held = 0 if is_ahead else _write_inputs(order, descriptors)
    _limit(limits)
    if "shared" in order:
        held = ORDER_BYTES
        if not order["shared"]["reuse"]:
            native.begin_calls()
    inodes = limits["disk_files"] + EXTRA_INODES + len(descriptors)
    options = f"size={limits['disk_bytes'] + held},nr_inodes={inodes},mode=0755"
    native.seal(options.encode(), order["package"].encode(), setup.rules, setup.program, first_closed)


def practise(setup: Setup) -> None:
    """In the zygote, where a workspace is mounted.

    Let Python adapt to what calls do, and fill its caches, before they are forked.
    """
    kept_path, kept_argv, kept_main = list(sys.path), sys.argv, sys.modules["__main__"]
    with open("/mnt/in/data.json", "w") as file:
        file.write(quickjson.loads(REHEARSAL)["inputs"])
    for source, target in (("/mnt/in", "/workspace/in"), ("/mecapy/_mecapy_guest", "/package")):
        native.show(source, target)
    for _round in range(ROUNDS):
        order = quickjson.loads(REHEARSAL)
        order["site"] = setup.has_site
        _become({**order, "environment": setup.variables}, setup)
        if runner.run(order, None) != 0:
            raise OSError("practising a call failed")
        del sys.modules["rehearsal"]
        importlib.import_module("rehearsal")  # by the search, which most modules need for others of their package
        sys.path[:] = kept_path
        del sys.modules["rehearsal"]
    sys.path_importer_cache["/package"].invalidate_caches()  # type: ignore[union-attr]  # the finder stays, what it saw does not
    sys.argv, sys.modules["__main__"] = kept_argv, kept_main


def rehearse(setup: Setup) -> None:
    """What a call does, with a handler of ours, where nothing of it counts: shows which pages every call writes."""
    order = quickjson.loads(REHEARSAL)
    with open("/mnt/in/data.json", "w") as file:
        file.write(order["inputs"])
    for source, target in (("/mnt/in", "/workspace/in"), ("/mecapy/_mecapy_guest", "/package")):
        native.show(source, target)
    _limit(order["limits"])
    _become(order, setup)
    order["site"] = setup.has_site
    if runner.run(order, None) != 0:
        raise OSError("the rehearsal of a call failed")


def _write_inputs(order: dict[str, Any], descriptors: list[int]) -> int:
    """Gives the bytes that they hold of the workspace, in whole pages."""
    text = order["inputs"].encode()
    os.write(DATA_FD, text)
    held = _whole_pages(len(text))
    for name, source in zip(order["names"], descriptors, strict=True):
        with open(f"/mnt/in/files/{name}", "xb") as target, open(source, "rb") as content:
            while piece := content.read(1 << 20):
                target.write(piece)
            held += _whole_pages(target.tell())
    return held


def _whole_pages(size: int) -> int:
    return (size + PAGE - 1) // PAGE * PAGE


def _wait_for_inputs(orders: socket.socket) -> None:
    """The tenant's module is loaded; wait for the call. Nobody there any more: nothing was lost."""
    with orders:
        message = orders.recv(ORDER_BYTES)
    if not message:
        os._exit(0)
    os.write(DATA_FD, message)
    os.close(DATA_FD)


def _limit(limits: dict[str, int]) -> None:
    for kind, value in (
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_FSIZE, limits["disk_bytes"] + (1 << 20)),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 65536),
        (resource.RLIMIT_SIGPENDING, 4096),
    ):
        _soft, hard = resource.getrlimit(kind)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))


def _become(order: dict[str, Any], setup: Setup) -> None:
    """What a fresh process would have: environment, a random state of its own, and an empty main module."""
    for name, value in order["environment"].items():
        if setup.variables.get(name) != value:
            os.environ[name] = value
    for adapt in setup.adaptations:
        adapt(order["environment"])
    sys.modules["__main__"] = type(sys)("__main__")  # what `multiprocessing` would start again in its children
