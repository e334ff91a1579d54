"""RestrictedPython: what a formula may say, checked at deploy and kept at run. The only place that imports it.

It is a policy over formulas, never a boundary: that is the sandbox. It also runs beside the guest, so it imports
nothing of ours.
"""

import ast
import importlib
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from operator import (
    iadd,
    iand,
    ifloordiv,
    ilshift,
    imatmul,
    imod,
    imul,
    ior,
    ipow,
    irshift,
    isub,
    itruediv,
    ixor,
)  # fmt: skip
from typing import Any

from RestrictedPython.compile import compile_restricted_exec
from RestrictedPython.Guards import guarded_iter_unpack_sequence, guarded_unpack_sequence, safe_builtins, safer_getattr
from RestrictedPython.transformer import RestrictingNodeTransformer
from RestrictedPython.Utilities import utility_builtins

LINE = re.compile(r"Line (\d+): (.*)", re.DOTALL)
MORE_BUILTINS = (
    *(
        "abs",
        "all",
        "any",
        "bin",
        "dict",
        "enumerate",
        "filter",
        "frozenset",
        "iter",
        "list",
        "map",
        "max",
        "min",
        "next",
        "object",
    ),
    *("range", "reversed", "set", "sum", "super", "property", "staticmethod", "classmethod", "NotImplemented"),
)
IN_PLACE: Mapping[str, Callable[[Any, Any], Any]] = {
    "+=": iadd, "-=": isub, "*=": imul, "/=": itruediv, "//=": ifloordiv, "%=": imod, "**=": ipow, "@=": imatmul,
    "&=": iand, "|=": ior, "^=": ixor, "<<=": ilshift, ">>=": irshift,
}  # fmt: skip


class FormulaPolicy(RestrictingNodeTransformer):
    """RestrictedPython's own policy, with annotations allowed: the platform reads ports from them."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:  # noqa: N802 - the name is ast's
        """A declared name is an assignment with a remark."""
        return self.node_contents_visit(node)


def violations(data: bytes, path: str, allowed: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, sentence) of everything in the source that the policy refuses."""
    result = compile_restricted_exec(ast.parse(data, path), path, policy=FormulaPolicy)
    for error in result.errors:
        match = LINE.match(error)
        yield (int(match[1]), match[2]) if match else (0, error)
    for node in ast.walk(ast.parse(data, path)):
        for name in _imported(node):
            if not _may(name, allowed):
                yield getattr(node, "lineno", 0), f"A formula may not import {name}."


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield "." * node.level + (node.module or "")


def _may(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == item or name.startswith(f"{item}.") for item in allowed)


def load_handler(handler: str, package: str, allowed: tuple[str, ...]) -> Callable[..., object]:
    """The function `module:name` of the package folder, compiled and living under the guards."""
    module_name, _, function_name = handler.partition(":")
    path = f"{package}/{module_name.replace('.', '/')}.py"
    with open(path, "rb") as file:  # noqa: PTH123 - importing pathlib costs each call milliseconds
        tree = ast.parse(file.read(), path)
    result = compile_restricted_exec(tree, path, policy=FormulaPolicy)
    if result.code is None:
        raise SyntaxError(f"{module_name} does not keep to RestrictedPython: {'; '.join(result.errors[:5])}")
    module = types.ModuleType(module_name)
    module.__dict__.update(_guards(module_name, allowed))
    module.__dict__["__file__"] = path
    sys.modules[module_name] = module
    exec(result.code, module.__dict__)  # noqa: S102 - the whole purpose: code under guards, inside the sandbox
    function: Callable[..., object] = module.__dict__[function_name]
    return function


def _guards(name: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    own = importlib.import_module("builtins")
    names = {item: getattr(own, item) for item in MORE_BUILTINS}

    def guarded_import(module: str, space: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> Any:
        if level or not _may(module, allowed):
            raise ImportError(f"A formula under RestrictedPython may not import {'.' * level}{module}.")
        return __import__(module, space, local, wanted, level)

    return {
        "__builtins__": {**safe_builtins, **utility_builtins, **names, "__import__": guarded_import},
        "__name__": name,
        "__metaclass__": type,
        "_getattr_": safer_getattr,
        "_getitem_": lambda thing, key: thing[key],
        "_getiter_": iter,
        "_iter_unpack_sequence_": guarded_iter_unpack_sequence,
        "_unpack_sequence_": guarded_unpack_sequence,
        "_write_": _writable,
        "_inplacevar_": lambda operator, left, right: IN_PLACE[operator](left, right),
        "_print_": _Printer,
        "_apply_": lambda function, *given, **named: function(*given, **named),
    }


def _writable(thing: Any) -> Any:
    """Values may be filled; modules and classes stay as they are."""
    if isinstance(thing, types.ModuleType | type):
        raise TypeError(
            f"A formula may not change {getattr(thing, '__name__', thing)}: it may not set attributes of a module or "
            f"class."
        )
    return thing


class _Printer:
    """`print` in a formula prints, as everywhere."""

    def __init__(self, _getattr: object = None) -> None:
        """Made by RestrictedPython once for each scope that prints."""

    def _call_print(self, *things: object, **how: Any) -> None:
        print(*things, **{name: value for name, value in how.items() if name in {"sep", "end"}})  # noqa: T201 - the formula's own output

    def __call__(self) -> str:
        return ""
