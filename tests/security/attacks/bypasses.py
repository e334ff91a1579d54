"""What hides from a reader of source code: the payload is the same each time, and the sandbox is what stops it."""

import base64
import codecs
import ctypes
import importlib
import importlib.machinery
import importlib.util
import marshal
import os
import pickle
import sys
import types
import zipfile
from typing import Any

from report import Report

PAYLOAD = """
import os, socket
report.refused("read /etc/shadow", open, "/etc/shadow")
report.refused("write /usr/lib/x", open, "/usr/lib/x", "w")
report.refused("kill init", os.kill, 1, 9)
one = socket.socket(); one.settimeout(0.3)
report.refused("connect", one.connect, ("198.51.100.1", 80))
"""


def base64_exec(report: Report) -> None:
    hidden = base64.b64encode(PAYLOAD.encode())
    exec(base64.b64decode(hidden), {"report": report})


def names_put_together(report: Report) -> None:
    run = getattr(__builtins__, "ex" + "ec") if not isinstance(__builtins__, dict) else __builtins__["ex" + "ec"]
    run(PAYLOAD, {"report": report})


def subclasses_of_object(report: Report) -> None:
    for kind in object.__subclasses__():
        module = sys.modules.get(kind.__module__)
        run: Any = getattr(module, "__builtins__", {})
        if isinstance(run, dict) and "exec" in run:
            run["exec"](PAYLOAD, {"report": report})
            return
    report.note("no way found", "none", escaped=False)


def bytecode_alone(report: Report) -> None:
    path = "/tmp/hidden.pyc"
    code = compile(PAYLOAD, "harmless.py", "exec")
    with open(path, "wb") as file:
        file.write(importlib.util.MAGIC_NUMBER + b"\0" * 12 + marshal.dumps(code))
    loader = importlib.machinery.SourcelessFileLoader("hidden", path)
    spec = importlib.util.spec_from_loader("hidden", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.report = report  # type: ignore[attr-defined]
    loader.exec_module(module)


def code_object_by_hand(report: Report) -> None:
    code = compile(PAYLOAD, "x", "exec")
    types.FunctionType(code.replace(co_name="innocent"), {"report": report, "__builtins__": __builtins__})()


def pickled(report: Report) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (PAYLOAD, {"report": None})

    raw = pickle.dumps(Trap())
    sys.modules["builtins"].report = report  # type: ignore[attr-defined]
    try:
        pickle.loads(raw.replace(b"report\x94N", b"other_\x94N"))
    finally:
        del sys.modules["builtins"].report  # type: ignore[attr-defined]


def other_encoding(report: Report) -> None:
    with open("/tmp/rotated.py", "wb") as file:
        file.write(b"# coding: utf-7\n" + PAYLOAD.encode("utf-7"))
    with open("/tmp/rotated.py", "rb") as file:
        exec(file.read(), {"report": report})
    exec(codecs.decode(codecs.encode(PAYLOAD, "rot13"), "rot13"), {"report": report})


def module_in_a_zip(report: Report) -> None:
    with zipfile.ZipFile("/tmp/data.bin", "w") as target:
        target.writestr("from_zip.py", f"def go(report):\n    exec({PAYLOAD!r}, {{'report': report}})\n")
    sys.path.insert(0, "/tmp/data.bin")
    importlib.import_module("from_zip").go(report)


def own_machine_code(report: Report) -> None:
    """A library of its own, from a writable place: it may run, and is confined as everything else."""
    import mmap

    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x2a\x00\x00\x00\xc3" if os.uname().machine == "x86_64" else b"\x40\x05\x80\x52\xc0\x03\x5f\xd6")
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    report.holds("machine code runs", answer == 42, answer)
    exec(PAYLOAD, {"report": report})


def replaces_our_own_code(report: Report) -> None:
    """The runner runs as the user: whatever it patches there is its own, and judged from outside."""
    for name in [name for name in sys.modules if "_mecapy_guest" in name]:
        module = sys.modules[name]
        for attribute in dir(module):
            if callable(getattr(module, attribute)) and not attribute.startswith("__") and attribute != "to_json":
                try:
                    setattr(module, attribute, lambda *_a, **_k: 0)
                except (AttributeError, TypeError):
                    continue
    report.note("all functions of the guest replaced", "in its own process")
    exec(PAYLOAD, {"report": report})
