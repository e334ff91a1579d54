"""The worker of one warm call: confines itself, takes its order, runs the handler, ends.

Everything before `native.seal` is ours. The tenant's code is imported after it, ahead of the call where the order says so.
"""

from __future__ import annotations

import os
import resource
import socket
import sys

from _mecapy_guest import confine, native, quickjson, runner

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from _mecapy_guest.stem import Setup

ORDER_FD, DATA_FD = 3, 4
ORDER_BYTES = 1 << 18
MAX_FILES = 200
SMALLEST = b"size=1m,nr_inodes=64,mode=0755"
EXTRA_INODES = 9  # the folders of a workspace, and in/data.json


def serve(setup: Setup, channel: int, report: socket.socket, outputs: tuple[int, int]) -> NoReturn:
    """From fork to exit. `channel` brings the order, `report` takes the workspace's descriptor or why there is none."""
    try:
        top = native.enter(SMALLEST)
        data = os.open("/mnt/in/data.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        report.send(str(error).encode())
        raise
    confine.prefer_for_oom()
    os.setsid()  # a signal to its own group must not reach the stem
    socket.send_fds(report, [b"made"], [top])
    _take_descriptors(channel, data, outputs)
    orders = socket.socket(fileno=os.dup(ORDER_FD))
    message, descriptors, _flags, _address = socket.recv_fds(orders, ORDER_BYTES, MAX_FILES)
    if not message:
        os._exit(0)
    order = quickjson.loads(message.decode())
    is_ahead = "inputs" not in order
    if not is_ahead:
        _write_inputs(order, descriptors)
    _limit(order["limits"])
    options = f"size={order['limits']['disk_bytes']},nr_inodes={order['limits']['disk_files'] + EXTRA_INODES},mode=0755"
    native.seal(options.encode(), order["package"].encode(), setup.rules, setup.program, DATA_FD + 1 if is_ahead else ORDER_FD)
    _become(order)
    loaded = None
    if is_ahead:
        loaded = runner.Loaded(order["handler"], has_site=order["site"])
        _wait_for_inputs()
    os._exit(runner.run(order, loaded))


def warm_up_numpy() -> None:
    """In the zygote: let the first use of its parts be over, with one thread, so that no thread is lost in a fork."""
    numpy = sys.modules["numpy"]
    numpy.dot(numpy.ones((4, 4)), numpy.ones((4, 4)))


def _take_descriptors(channel: int, data: int, outputs: tuple[int, int]) -> None:
    """0, 1, 2 are the tenant's; 3 brings the order; 4 is in/data.json. The rest is closed by `seal`."""
    high = [os.dup(descriptor) for descriptor in (channel, data, *outputs)]
    while min(high) <= DATA_FD:
        high = [os.dup(descriptor) for descriptor in high]
    for descriptor, target in zip(high, (ORDER_FD, DATA_FD, 1, 2), strict=True):
        os.dup2(descriptor, target, inheritable=target < ORDER_FD)


def _write_inputs(order: dict[str, Any], descriptors: list[int]) -> None:
    os.write(DATA_FD, order["inputs"].encode())
    for name, source in zip(order["names"], descriptors, strict=True):
        with open(f"/mnt/in/files/{name}", "xb") as target, open(source, "rb") as content:
            while piece := content.read(1 << 20):
                target.write(piece)


def _wait_for_inputs() -> None:
    """The tenant's module is loaded; wait for the call. Nobody there any more: nothing was lost."""
    with socket.socket(fileno=ORDER_FD) as channel:
        message = channel.recv(ORDER_BYTES)
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
    ):
        _soft, hard = resource.getrlimit(kind)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))


def _become(order: dict[str, Any]) -> None:
    """What a fresh process would have: environment, a random state of its own, and an empty main module."""
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(order["environment"])
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy.random" in sys.modules:
        numpy.random.seed()
    sys.modules["__main__"] = type(sys)("__main__")  # what `multiprocessing` would start again in its children
