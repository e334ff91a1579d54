"""Works out what the names of a source stand for: imports, aliases, getattr, __import__, builtins by subscript.

Runs nothing.
"""

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field

from mecapy_platform.core.checks.hostile.fold import HOLE, Constant, Folder

BUILTINS = frozenset(dir(builtins))
IMPORTERS = ("builtins.__import__", "importlib.import_module", "importlib.__import__")
PASSES = 3
MAX_DEPTH = 60
SPELLINGS = {
    "posix": "os",
    "nt": "os",
    "_socket": "socket",
    "_ctypes": "ctypes",
    "__builtins__": "builtins",
    "builtin": "builtins",
}


@dataclass
class Names:
    """One source's names.

    `hidden` are the expressions whose name had to be worked out: getattr of a text, a subscript of builtins.
    """

    tree: ast.AST
    aliases: dict[str, set[str]] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    stars: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folder = Folder(self.constants, self.dotted)
        self._memo: dict[int, set[str]] | None = None
        self._nodes = list(ast.walk(self.tree))
        for node in self._nodes:
            self._import(node)
        self.assigned = list(self._assignments())
        for _ in range(PASSES):
            for target, value in self.assigned:
                self._assign(target, value)
        self._memo = {}
        self.folder.memo = {}

    def nodes(self) -> list[ast.AST]:
        return self._nodes

    def dotted(self, node: ast.expr) -> str | None:
        """One name for the expression, such as `os.system`; the first of several."""
        return next(iter(sorted(self.resolve(node))), None)

    def resolve(self, node: ast.expr, depth: int = 0) -> set[str]:
        """Every dotted name that the expression may stand for; empty when nothing is known."""
        if self._memo is None:
            return self._resolved(node, depth)
        if id(node) not in self._memo:
            self._memo[id(node)] = self._resolved(node, depth)
        return self._memo[id(node)]

    def _resolved(self, node: ast.expr, depth: int) -> set[str]:
        if depth > MAX_DEPTH:
            return set()
        found: set[str] = set()
        if isinstance(node, ast.Name):
            found = self._name(node.id)
        elif isinstance(node, ast.Attribute):
            found = {_joined(base, node.attr) for base in self.resolve(node.value, depth + 1)}
        elif isinstance(node, ast.Call):
            found = self._call(node, depth)
        elif isinstance(node, ast.Subscript):
            found = self._subscript(node, depth)
        elif isinstance(node, ast.NamedExpr):
            found = self.resolve(node.value, depth + 1)
        elif isinstance(node, ast.IfExp):
            found = self.resolve(node.body, depth + 1) | self.resolve(node.orelse, depth + 1)
        elif isinstance(node, ast.BoolOp):
            found = set().union(*(self.resolve(value, depth + 1) for value in node.values))
        elif isinstance(node, ast.Lambda):
            found = self.resolve(node.body.func, depth + 1) if isinstance(node.body, ast.Call) else set()
        return {_spelled(item) for item in found}

    def _name(self, name: str) -> set[str]:
        if name in self.aliases:
            return self.aliases[name]
        if name in BUILTINS or name == "__builtins__":
            return {"builtins" if name == "__builtins__" else f"builtins.{name}"}
        return {f"{module}.{name}" for module in self.stars}

    def _call(self, node: ast.Call, depth: int) -> set[str]:  # noqa: C901, PLR0911 - one line for each way to hide a name
        called = self.resolve(node.func, depth + 1)
        first = node.args[0] if node.args else None
        if first is not None and called & set(IMPORTERS):
            name = self.folder.text(first)
            if name is not None and HOLE not in name:
                if not isinstance(first, ast.Constant):
                    self.hidden.add(id(node))
                self.modules.add(name)
                return {name.partition(".")[0] if "builtins.__import__" in called and len(node.args) < 4 else name}
            return set()
        if len(node.args) > 1 and "builtins.getattr" in called:
            return self._attribute(node, node.args[0], node.args[1], depth)
        if first is not None and called & {"builtins.vars"}:
            return {f"{base}.__dict__" for base in self.resolve(first, depth + 1)}
        if called & {"builtins.globals", "builtins.locals"}:
            return {"<namespace>"}
        if first is not None and called & {"functools.partial", "functools.wraps"}:
            return self.resolve(first, depth + 1)
        if (
            isinstance(node.func, ast.Call)
            and self.dotted(node.func.func) == "operator.attrgetter"
            and node.func.args
            and first is not None
        ):
            return self._attribute(node, first, node.func.args[0], depth)
        if (
            isinstance(node.func, ast.Attribute)
            and node.func.attr in {"get", "pop", "setdefault", "__getitem__"}
            and first is not None
        ):
            return self._member(node, node.func.value, first, depth)
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"__getattribute__", "__getattr__"} and node.args:
            owner = node.func.value if len(node.args) == 1 else node.args[0]
            return self._attribute(node, owner, node.args[-1], depth)
        return {
            f"{item}()"
            for item in called
            if item
            in {"ctypes.CDLL", "ctypes.PyDLL", "ctypes.cdll.LoadLibrary", "socket.socket", "socket.create_connection"}
        }

    def _attribute(self, node: ast.AST, owner: ast.expr, name: ast.expr, depth: int) -> set[str]:
        text = self.folder.text(name)
        if text is None or HOLE in text:
            return set()
        self.hidden.add(id(node))
        return {_joined(base, text) for base in self.resolve(owner, depth + 1)}

    def _subscript(self, node: ast.Subscript, depth: int) -> set[str]:
        return self._member(node, node.value, node.slice, depth)

    def _member(self, node: ast.AST, owner: ast.expr, key: ast.expr, depth: int) -> set[str]:
        """`sys.modules['os']`, `__builtins__['eval']`, `globals()['__builtins__']`, `os.__dict__['system']`."""
        if isinstance(owner, ast.List | ast.Tuple | ast.Dict):
            inner = owner.values if isinstance(owner, ast.Dict) else owner.elts
            return set().union(*(self.resolve(item, depth + 1) for item in inner))
        text = self.folder.text(key)
        if text is None:
            return set()
        found: set[str] = set()
        for base in self.resolve(owner, depth + 1):
            if base == "sys.modules":
                found.add(text)
            elif base == "<namespace>":
                found |= self._name(text)
            elif base in {"builtins", "builtins.__dict__"}:
                found.add(f"builtins.{text}")
            elif base.endswith(".__dict__"):
                found.add(f"{base.removesuffix('.__dict__')}.{text}")
        if found:
            self.hidden.add(id(node))
        return found

    def _import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for name in node.names:
                self.modules.add(name.name)
                self._add(
                    name.asname or name.name.partition(".")[0],
                    name.name if name.asname else name.name.partition(".")[0],
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            self.modules.add(node.module)
            for item in node.names:
                if item.name == "*":
                    self.stars.add(node.module)
                else:
                    self._add(item.asname or item.name, f"{node.module}.{item.name}")

    def _assignments(self) -> Iterator[tuple[ast.expr, ast.expr]]:
        for node in self._nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    yield from _pairs(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                yield node.target, node.value
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                yield node.optional_vars, node.context_expr
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                given = node.args
                last = (given.posonlyargs + given.args)[-len(given.defaults) :] if given.defaults else []
                for argument, default in zip(last, given.defaults, strict=True):
                    yield ast.Name(argument.arg), default

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if not isinstance(target, ast.Name):
            return
        for name in self.resolve(value):
            self._add(target.id, name)
        constant = self.folder.fold(value)
        if constant is not None and target.id not in self.constants:
            self.constants[target.id] = constant

    def _add(self, name: str, stands_for: str) -> None:
        known = self.aliases.setdefault(name, set())
        if len(known) < 20:
            known.add(stands_for)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    if (
        isinstance(target, ast.Tuple | ast.List)
        and isinstance(value, ast.Tuple | ast.List)
        and len(target.elts) == len(value.elts)
    ):
        yield from zip(target.elts, value.elts, strict=True)
    else:
        yield target, value


def _joined(base: str, name: str) -> str:
    if name in {"__builtins__", "__builtin__"}:
        return "builtins"
    return f"{base}.{name}"[:300]


def _spelled(name: str) -> str:
    first, _, rest = name.removesuffix(".__call__").partition(".")
    first = SPELLINGS.get(first, first)
    return f"{first}.{rest}" if rest else first
