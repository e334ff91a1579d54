"""Calls a handler as the runtime contract says.

In/data.json and in/files to keyword arguments, its answer to out/data.json.
"""

from __future__ import annotations

import os
import sys

from _mecapy_guest import plain_import, quickjson

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

IN = "/workspace/in"
OUT = "/workspace/out"
RESULT = f"{OUT}/data.json"
PLAIN = frozenset({"float", "int", "str", "bool", "list", "dict", "object", "NoneType", "None", "Path"})


class HandlerError(LookupError):
    """The package has no such function."""


class Loaded:
    """A handler that was imported ahead of its call, or why that failed: said when the call comes."""

    def __init__(self, handler: str, *, has_site: bool, is_restricted: bool = False) -> None:
        self.function: Callable[..., object] | None = None
        self.error: BaseException | None = None
        called = os.getpid()
        try:
            start_children_plainly()
            set_paths(has_site=has_site)
            self.function = _find_restricted(handler) if is_restricted else find_handler(handler)
        except BaseException as error:  # noqa: BLE001 - raised again by the call
            self.error = error
        if os.getpid() != called:
            _end_the_forked(self.error)


def main(raw_order: str) -> int:
    """Run one order, `{"mode", "handler", "site", "files"}`; gives the exit code of the process."""
    return run(quickjson.loads(raw_order), None)


def run(order: dict[str, Any], loaded: Loaded | None) -> int:
    """As `main`, with a handler that may be loaded already. The process that was called answers, and no other."""
    called = os.getpid()
    failure: BaseException | None = None
    try:
        answer = _answer(order, loaded)
        if os.getpid() == called:
            _write(RESULT, answer)
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises becomes its failure message
        failure = error
    if os.getpid() != called:
        _end_the_forked(failure)
    code = 0 if failure is None else _tell(failure)
    flush()
    return code


def _answer(order: dict[str, Any], loaded: Loaded | None) -> str:
    """The text of out/data.json."""
    _write(f"{OUT}/files/list.json", quickjson.dumps(order["files"]))
    data = quickjson.loads(_read(f"{IN}/data.json"))
    mode = order["mode"]
    if mode in {"scan", "imports", "describe"}:
        from _mecapy_guest import look

        answer: str = look.answer(mode, data, has_site=order["site"])
    elif mode == "bytecode":
        from _mecapy_guest import bytecode

        answer = quickjson.dumps({"modules": bytecode.compile_package()})
    else:
        is_restricted = mode == "restricted"
        answer = _call(loaded or Loaded(order["handler"], has_site=order["site"], is_restricted=is_restricted), data)
    return answer


def _end_the_forked(failure: BaseException | None) -> NoReturn:
    """The end of a process that the user's code forked and that came back from it: as of a child in any program.

    It writes out nothing that its parent holds in buffers too.
    """
    code = 0
    if isinstance(failure, SystemExit):
        code = failure.code & 255 if isinstance(failure.code, int) else failure.code is not None
    elif failure is not None:
        _print_trace(failure)
        code = 1
    os._exit(int(code))


def find_handler(handler: str) -> Callable[..., object]:
    """Import `module:function`; both must be plain names of the package's own code."""
    import importlib

    module_name, _, function_name = handler.partition(":")
    module = plain_import.import_plain(module_name) or importlib.import_module(module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise HandlerError(
            f"{module_name} has no function {function_name!r}; the manifest names {handler!r} as handler."
        )
    return function  # type: ignore[no-any-return]


def _find_restricted(handler: str) -> Callable[..., object]:
    """The handler under RestrictedPython's guards, which the worker laid beside the inputs; see scan/restricted.py."""
    import importlib
    import json

    policy = f"{IN}/policy"
    with open(f"{policy}/allowed.json", encoding="utf-8") as file:
        allowed = tuple(json.load(file))
    sys.path.insert(0, policy)  # before the package, which may hold modules of these names
    guards = importlib.import_module("mecapy_restricted")
    sys.path.remove(policy)
    return guards.load_handler(handler, "/package", allowed)  # type: ignore[no-any-return]


class _Flags(tuple):  # type: ignore[type-arg]  # noqa: SLOT001 - its fields are attributes
    """`sys.flags` of a plain start, otherwise those of this process."""

    def __new__(cls, flags: Any) -> _Flags:  # noqa: PYI034 - `Self` is newer than the oldest Python here
        plain = {"isolated": 0, "no_site": 0, "ignore_environment": 0, "no_user_site": 0, "safe_path": False}
        names = type(flags).__match_args__
        made = super().__new__(cls, [plain.get(name, getattr(flags, name)) for name in names])
        made.__dict__.update({name: getattr(flags, name) for name in dir(type(flags)) if not name.startswith("_")})
        made.__dict__.update({name: value for name, value in plain.items() if hasattr(flags, name)})
        return made


def start_children_plainly() -> None:
    """Libraries start interpreters with the flags of their own process; ours shut out what children need.

    See children/_mecapy_children.py for what they find.
    """
    if not isinstance(sys.flags, _Flags):
        sys.flags = _Flags(sys.flags)  # type: ignore[assignment]


def set_paths(*, has_site: bool) -> None:
    """The package first, then the environment; `.pth` files are honoured where the environment has any."""
    sys.path[:] = [path for path in sys.path if path != "/mecapy"]
    sys.path.insert(0, "/package")
    if has_site:
        sys.path.append("/site-packages")
        if any(name.endswith(".pth") for name in os.listdir("/site-packages")):
            import site

            site.addsitedir("/site-packages")
    sys.argv = [""]


def _call(loaded: Loaded, data: dict[str, object]) -> str:
    if loaded.function is None:
        raise loaded.error or HandlerError("the handler was not loaded")
    _add_files(data)
    notes = getattr(loaded.function, "__annotations__", None)
    if notes is None or not all(_is_plain(note) for name, note in notes.items() if name != "return"):
        from _mecapy_guest import arguments

        data = arguments.converted(loaded.function, data)
    answer = loaded.function(**data)
    from _mecapy_guest import results

    text: str = results.to_json(answer, f"{OUT}/files")
    return text


def _is_plain(note: Any) -> bool:
    """An annotation that JSON's own values meet, as most do: the others cost a call the reading of them."""
    if isinstance(note, str):
        return note in PLAIN
    if type(note).__name__ == "GenericAlias":
        return note.__origin__ in (list, dict) and all(map(_is_plain, note.__args__))
    return isinstance(note, type) and (note.__name__ in PLAIN and note.__module__ in ("builtins", "pathlib"))


def _add_files(data: dict[str, object]) -> None:
    folder = f"{IN}/files"
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    if names:
        from pathlib import Path

        for name in names:
            data[name.partition(".")[0]] = Path(folder, name)


def _read(path: str) -> str:
    """By descriptor: text files cost a call more than reading them."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    return content.decode()


def _write(path: str, text: str) -> None:
    """As above. A disk that is full is said by the write that does not fit."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(text.encode())
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _tell(failure: BaseException) -> int:
    """Write why there is no result; gives the exit code. A handler that leaves without one has failed, also with 0."""
    if isinstance(failure, SystemExit):
        message = f"The handler ended the program by sys.exit({failure.code!r}) before it gave a result."
        _write_error("SystemExit", message, "", "exit_code")
        return failure.code & 255 or 1 if isinstance(failure.code, int) else 1
    is_ours = type(failure).__module__.startswith("_mecapy_guest.")
    code = failure.code if is_ours and hasattr(failure, "code") else "user_error"
    _write_error(type(failure).__name__, str(failure) or type(failure).__name__, _print_trace(failure), code)
    return 1


def _print_trace(error: BaseException) -> str:
    """Its traceback from the user's first line on, told on stderr."""
    import traceback

    kept = error.__traceback__
    while kept is not None and kept.tb_frame.f_code.co_filename.startswith("/mecapy/"):
        kept = kept.tb_next
    text = "".join(traceback.format_exception(type(error), error, kept))
    try:
        sys.stderr.write(text)
    except (OSError, ValueError, AttributeError):
        pass
    return text


def _write_error(kind: str, message: str, trace: str, code: str) -> None:
    import time

    record = {
        "error": message[:10_000],
        "type": kind,
        "code": code,
        "traceback": trace[-trace_characters:],
        "ts": time.time(),
    }
    try:
        with open(f"{OUT}/_runner_error.json", "w", encoding="utf-8") as file:
            file.write(quickjson.dumps(record))
    except OSError:
        pass  # a full disk: the last lines of stderr tell


trace_characters = 100_000  # of a traceback, that are told; fewer where it must fit into a message
_remembered: list[Any] = []  # open files that the collector does not list any more


def remember_files() -> None:
    """Before a freeze: files that are open now, so that each fork writes out what it wrote to them."""
    _remembered[:] = _open_files()


def flush() -> None:
    """The process ends without the interpreter's own clean-up: write out what open files still hold."""
    for thing in (*_open_files(), *_remembered):
        try:
            thing.flush()
        except (OSError, ValueError):
            pass


def _open_files() -> list[Any]:
    import gc
    import io

    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    return [thing for thing in gc.get_objects() if type(thing) in kinds]
