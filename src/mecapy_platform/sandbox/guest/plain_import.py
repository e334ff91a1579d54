"""Imports a module that lies as one file at the top of the package, by looking there alone.

The interpreter's own search makes a finder and goes through several layers of its own; in a fresh fork that copies some
seventy pages, an eighth of all that a call writes. What is found here is what that search would have found first, and
the module looks the same. Wherever that is not certain, nothing is found, and the search is made.
"""

from __future__ import annotations

import _frozen_importlib as bootstrap  # what `importlib` is made of, and always loaded
import _frozen_importlib_external as external
import _imp
import marshal
import os
import sys

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from types import CodeType, ModuleType

PACKAGE = "/package"
USUAL_FINDERS = list(sys.meta_path)
HEAD_BYTES = 16  # of compiled modules: magic, flags, time and size of the source
LARGEST_BYTES = 16 << 20
UNCHECKED = b"\1\0\0\0"  # flags of a module that is not compared with its source, see bytecode.py


def import_plain(name: str, package: str = PACKAGE) -> ModuleType | None:
    """The module, loaded; or None, and nothing has been done."""
    if not _is_first_found_in(package, name):
        return None
    source = f"{package}/{name}.py"
    compiled = f"{package}/__pycache__/{name}.{sys.implementation.cache_tag}.pyc"
    code = _read(source, compiled)
    if code is None:
        return None
    spec = bootstrap.ModuleSpec(name, external.SourceFileLoader(name, source), origin=source)
    spec.cached, spec.has_location = compiled, True
    module = bootstrap.module_from_spec(spec)
    vars(spec)["_initializing"] = True  # what import itself says of a module that is being loaded
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - as every import does
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        vars(spec)["_initializing"] = False
    return sys.modules[name]  # which it may have replaced


def _is_first_found_in(package: str, name: str) -> bool:
    """A plain name that nothing before the package's folder has, and that stands for one file there."""
    if (
        name in sys.modules
        or name in sys.builtin_module_names
        or not name.isidentifier()
        or sys.path[:1] != [package]
        or sys.meta_path != USUAL_FINDERS
        or sys.flags.optimize
        or sys.pycache_prefix is not None
        or _imp.is_frozen(name)
    ):
        return False
    file = f"{name}.py"
    is_there = False
    for entry in os.listdir(package):
        if entry == file:
            is_there = True
        elif entry == name or (entry.startswith(name) and entry[len(name)] == "."):
            return False  # a package, an extension: found before, or not; the search knows
    return is_there


def _read(source: str, compiled: str) -> CodeType | None:
    """The compiled module, where it is of this interpreter and of this source."""
    try:
        descriptor = os.open(compiled, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(descriptor, LARGEST_BYTES) if os.fstat(descriptor).st_size < LARGEST_BYTES else b""
    finally:
        os.close(descriptor)
    if data[:4] != external.MAGIC_NUMBER or not _is_of(data, source):
        return None
    try:
        code: CodeType = marshal.loads(memoryview(data)[HEAD_BYTES:])  # noqa: S302 - the tenant's, as import reads it
    except (EOFError, ValueError, TypeError):
        return None
    if type(code) is not type(_read.__code__):
        return None
    _imp._fix_co_filename(code, source)  # type: ignore[attr-defined]  # noqa: SLF001 - compiled elsewhere, maybe
    return code


def _is_of(compiled: bytes, source: str) -> bool:
    """By its own word, as those that we compile say; or by the time and size of its source."""
    flags = compiled[4:8]
    if flags == UNCHECKED:
        return _imp.check_hash_based_pycs != "always"
    seen = os.stat(source)
    numbers = (int(seen.st_mtime), seen.st_size)
    return compiled[4:HEAD_BYTES] == bytes(4) + b"".join((each & 0xFFFFFFFF).to_bytes(4, "little") for each in numbers)
