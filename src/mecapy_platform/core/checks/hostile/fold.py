"""Works out texts that a source hides in arithmetic: concatenations, formats, chr(), slices, decoders of constants.

Runs nothing.
"""

import ast
import base64
import binascii
import codecs
import re
import zlib
from collections.abc import Callable, Mapping, Sequence

MAX_TEXT = 200_000
MAX_DEPTH = 60
WIDE = re.compile(r"%[^%a-zA-Z]*(?:\d{4}|\*)")  # a format that asks for gigabytes
HOLE = "\ufffc"  # stands for the part of a text that is not known
Constant = str | bytes | int | tuple["Constant", ...]


def _inflate(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, MAX_TEXT)


def _as_bytes(value: Constant) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else bytes(value) if isinstance(value, bytes) else b""


DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "base64.b64decode": base64.b64decode,
    "base64.standard_b64decode": base64.b64decode,
    "base64.urlsafe_b64decode": base64.urlsafe_b64decode,
    "base64.decodebytes": base64.decodebytes,
    "base64.b32decode": base64.b32decode,
    "base64.b16decode": base64.b16decode,
    "base64.b85decode": base64.b85decode,
    "base64.a85decode": base64.a85decode,
    "binascii.unhexlify": binascii.unhexlify,
    "binascii.a2b_hex": binascii.unhexlify,
    "binascii.a2b_base64": binascii.a2b_base64,
    "bytes.fromhex": lambda data: bytes.fromhex(data.decode("latin-1")),
    "builtins.bytes.fromhex": lambda data: bytes.fromhex(data.decode("latin-1")),
    "zlib.decompress": _inflate,
}


PATHS = frozenset(
    ("os.path.join", "os.path.expanduser", "pathlib.Path", "pathlib.PurePath", "pathlib.Path.home", "pathlib.PosixPath")
)


class Folder:
    """Folds expressions to constants.

    `constants` are names with one known value; `dotted` names what an expression calls.
    """

    def __init__(self, constants: Mapping[str, Constant], dotted: Callable[[ast.expr], str | None]) -> None:
        self._constants = constants
        self._dotted = dotted
        self.memo: dict[int, Constant | None] | None = None  # by node, once the constants are all known

    def text(self, node: ast.expr) -> str | None:
        value = self.fold(node)
        if isinstance(value, bytes):
            return value.decode("latin-1")
        return value if isinstance(value, str) else None

    def fold(self, node: ast.expr, depth: int = 0) -> Constant | None:
        """The value, with HOLE for unknown parts of texts; None where nothing is known."""
        if self.memo is None:
            return self._folded(node, depth)
        if id(node) not in self.memo:
            self.memo[id(node)] = self._folded(node, depth)
        return self.memo[id(node)]

    def _folded(self, node: ast.expr, depth: int) -> Constant | None:  # noqa: PLR0911 - one line for each kind of expression
        if depth > MAX_DEPTH:
            return None
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str | bytes | int) else None
        if isinstance(node, ast.Name):
            return self._constants.get(node.id)
        if isinstance(node, ast.JoinedStr):
            return self._joined(node, depth)
        if isinstance(node, ast.BinOp):
            return self._operation(node, depth)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            parts = [self.fold(elt, depth + 1) for elt in node.elts[:5000]]
            return tuple(HOLE if part is None else part for part in parts)
        if isinstance(node, ast.Subscript):
            return self._slice(node, depth)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        if isinstance(node, ast.GeneratorExp | ast.ListComp):
            return self._comprehension(node, depth)
        return None

    def _joined(self, node: ast.JoinedStr, depth: int) -> str:
        parts: list[str] = []
        for item in node.values:
            value = self.fold(item.value if isinstance(item, ast.FormattedValue) else item, depth + 1)
            parts.append(str(value) if isinstance(value, str | int) else HOLE)
        return "".join(parts)[:MAX_TEXT]

    def _operation(self, node: ast.BinOp, depth: int) -> Constant | None:
        left, right = self.fold(node.left, depth + 1), self.fold(node.right, depth + 1)
        if isinstance(node.op, ast.Add):
            return _added(left, right)
        if isinstance(node.op, ast.Div) and (isinstance(left, str) or isinstance(right, str)):
            return _path((left, right))
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            return _filled(left, right)
        if isinstance(node.op, ast.Mult) and isinstance(left, str) and isinstance(right, int):
            return left * max(0, min(right, MAX_TEXT // max(1, len(left))))
        if isinstance(left, int) and isinstance(right, int):
            return _number(node.op, left, right)
        return None

    def _slice(self, node: ast.Subscript, depth: int) -> Constant | None:
        value = self.fold(node.value, depth + 1)
        if not isinstance(value, str | bytes | tuple):
            return None
        if isinstance(node.slice, ast.Slice):
            bounds = [
                None if item is None else self._whole(item, depth)
                for item in (node.slice.lower, node.slice.upper, node.slice.step)
            ]
            return value[slice(*bounds)] if bounds[2] != 0 else None
        index = self.fold(node.slice, depth + 1)
        return value[index] if isinstance(index, int) and -len(value) <= index < len(value) else None

    def _whole(self, node: ast.expr, depth: int) -> int | None:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self.fold(node.operand, depth + 1)
            return -value if isinstance(value, int) else None
        value = self.fold(node, depth + 1)
        return value if isinstance(value, int) else None

    def _call(self, node: ast.Call, depth: int) -> Constant | None:  # noqa: PLR0911 - one line for each kind of call
        name = self._dotted(node.func) or ""
        arguments = [self.fold(arg, depth + 1) for arg in node.args[:4]]
        first = arguments[0] if arguments else None
        try:
            if name in DECODERS and isinstance(first, str | bytes):
                return DECODERS[name](_as_bytes(first))[:MAX_TEXT]
            if name == "builtins.chr" and isinstance(first, int):
                return chr(first)
            if name in {"builtins.str", "builtins.bytes", "builtins.bytearray", "os.fsdecode"} and first is not None:
                return _plain(name, first)
            if name in {"codecs.decode", "codecs.encode"} and len(arguments) > 1:
                return _codec(first, arguments[1])
            if name == "builtins.map":
                return self._mapped(node, arguments)
            if name == "builtins.reversed" and isinstance(first, str | tuple):
                return first[::-1] if isinstance(first, tuple) else tuple(first[::-1])
            if name in PATHS:
                return _path([HOLE] if name.endswith("home") else arguments)
            if isinstance(node.func, ast.Attribute):
                return self._method(node.func, arguments, depth)
        except (ValueError, TypeError, LookupError, zlib.error, OverflowError):
            return None
        return None

    def _mapped(self, node: ast.Call, arguments: list[Constant | None]) -> Constant | None:
        values = arguments[1] if len(arguments) > 1 else None
        if self._dotted(node.args[0]) == "builtins.chr" and isinstance(values, tuple | bytes):
            return tuple(chr(value) if isinstance(value, int) else HOLE for value in values)
        return None

    def _method(self, func: ast.Attribute, arguments: list[Constant | None], depth: int) -> Constant | None:
        value = self.fold(func.value, depth + 1)
        if isinstance(value, bytes) and func.attr == "decode":
            return _codec(value, arguments[0] if arguments else "utf-8")
        if isinstance(value, str):
            return _text_method(value, func.attr, arguments)
        return None

    def _comprehension(self, node: ast.GeneratorExp | ast.ListComp, depth: int) -> Constant | None:
        """`chr(c) for c in [..]` and `chr(c ^ 7) for c in b".."`, as hidden texts are written."""
        if len(node.generators) != 1 or not isinstance(target := node.generators[0].target, ast.Name):
            return None
        values = self.fold(node.generators[0].iter, depth + 1)
        if not isinstance(values, tuple | bytes | str) or len(values) > 5000:
            return None
        parts: list[Constant] = []
        for item in values:
            inner = Folder({**self._constants, target.id: item}, self._dotted)
            value = inner.fold(node.elt, depth + 1)
            parts.append(HOLE if value is None else value)
        return tuple(parts)


def _added(left: Constant | None, right: Constant | None) -> Constant | None:
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    if isinstance(left, bytes) and isinstance(right, bytes):
        return (left + right)[:MAX_TEXT]
    if isinstance(left, tuple) and isinstance(right, tuple):
        return (left + right)[:5000]
    if isinstance(left, str) or isinstance(right, str):
        return ((left if isinstance(left, str) else HOLE) + (right if isinstance(right, str) else HOLE))[:MAX_TEXT]
    return None


def _path(parts: Sequence[Constant | None]) -> str:
    """Joined as pathlib joins, with unknown parts as holes."""
    return "/".join(part.rstrip("/") if isinstance(part, str) else HOLE for part in parts)[:MAX_TEXT]


def _number(operator: ast.operator, left: int, right: int) -> int | None:
    if isinstance(operator, ast.Sub):
        return left - right
    if isinstance(operator, ast.BitXor):
        return left ^ right
    return None


def _filled(pattern: str, values: Constant | None) -> str | None:
    if WIDE.search(pattern):
        return None
    given = values if isinstance(values, tuple) else (values,)
    try:
        return (
            str(pattern % tuple(HOLE if item is None else item for item in given))[:MAX_TEXT]
            if len(pattern) < 10_000
            else None
        )
    except (TypeError, ValueError, OverflowError, MemoryError):
        return None


def _plain(name: str, value: Constant) -> Constant | None:
    if name == "builtins.str":
        return value.decode("latin-1") if isinstance(value, bytes) else str(value)[:MAX_TEXT]
    if isinstance(value, tuple):
        return bytes(item for item in value if isinstance(item, int) and 0 <= item < 256)
    return value if isinstance(value, str | bytes) else None


def _codec(value: Constant | None, codec: Constant | None) -> Constant | None:
    """Codecs of Python itself alone, and none that could grow without bound."""
    known = {
        "utf-8",
        "utf8",
        "ascii",
        "latin-1",
        "latin1",
        "rot13",
        "rot_13",
        "rot-13",
        "hex",
        "hex_codec",
        "base64",
        "base64_codec",
    }
    if not isinstance(codec, str) or codec.lower() not in known or not isinstance(value, str | bytes):
        return None
    decoded = codecs.decode(value, codec)  # type: ignore[arg-type]  # the kind that fits differs by codec, and a misfit raises
    return decoded if isinstance(decoded, str | bytes) else None


def _text_method(value: str, method: str, arguments: list[Constant | None]) -> Constant | None:  # noqa: PLR0911 - one line for each method
    first = arguments[0] if arguments else None
    if method == "join" and isinstance(first, tuple | str):
        return value.join(item if isinstance(item, str) else HOLE for item in first)[:MAX_TEXT]
    if method in {"lower", "upper", "strip", "swapcase", "title", "capitalize"} and not arguments:
        return str(getattr(value, method)())
    if method == "replace" and len(arguments) > 1 and isinstance(first, str) and isinstance(arguments[1], str):
        return (
            value.replace(first, arguments[1])[:MAX_TEXT]
            if len(value) * (len(arguments[1]) + 1) < 10 * MAX_TEXT
            else None
        )
    if method == "format":
        return value.replace("{}", HOLE)
    if method == "encode":
        return value.encode("utf-8", "replace")
    if method == "split":
        return tuple(value.split(first if isinstance(first, str) and first else None)[:5000])
    return None
