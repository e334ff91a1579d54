"""Follows values of one source through assignments, parameters and results, function by function. Runs nothing.

Two functions may use one name for two things: what is put somewhere is what the name stands for there.
"""

import ast
from collections.abc import Iterator
from enum import StrEnum

from mecapy_platform.core.checks.hostile.names import Names

Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
SOCKETS = frozenset(
    f"socket.{name}" for name in ("socket", "create_connection", "create_server", "fromfd", "socketpair")
)
FILES = frozenset(("os.open", "os.pipe", "os.pipe2", "os.openpty", "os.memfd_create", "builtins.open", "io.open"))
COPIES = frozenset(("os.dup", "os.dup2", "os.fdopen", "builtins.int", "builtins.list", "builtins.tuple"))
SAME = frozenset(("fileno", "detach", "makefile", "dup", "accept", "__enter__"))
MAX_REACHED = 20_000


class Descriptor(StrEnum):
    """What a file descriptor may belong to."""

    FILE = "file"
    SOCKET = "socket"
    UNKNOWN = "unknown"


class Flow:
    """Where the values of one source come from."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._scope: dict[int, Scope] = {}
        self._outer: dict[int, Scope | None] = {}
        self._bound: dict[tuple[int, str], list[ast.expr]] = {}
        self._members: dict[str, list[ast.expr]] = {}
        self._functions: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        self._calls: dict[str, list[ast.Call]] = {}
        self._returned: dict[int, list[ast.expr]] = {}
        self._place()
        for node in names.nodes():
            self._bind(node)

    def reach(self, start: ast.expr) -> Iterator[ast.AST]:
        """Every node of the expression and of what its names, members and calls of own functions may stand for."""
        waiting, seen = [start], set[int]()
        while waiting and len(seen) < MAX_REACHED:
            expression = waiting.pop()
            if id(expression) in seen:
                continue
            seen.add(id(expression))
            for node in ast.walk(expression):
                yield node
                if isinstance(node, ast.Name | ast.Attribute | ast.Call):
                    waiting += self._sources(node)

    def descriptor(self, node: ast.expr, seen: frozenset[int] = frozenset()) -> set[Descriptor]:
        """What the expression, a descriptor or what has one, may be."""
        if id(node) in seen or len(seen) > 60:
            return set()
        seen |= {id(node)}
        if isinstance(node, ast.Call):
            return self._called(node, seen)
        if isinstance(node, ast.Constant) or any(name.startswith("sys.") for name in self._names.resolve(node)):
            return {Descriptor.FILE}
        if isinstance(node, ast.Name | ast.Attribute):
            return self._all(self._sources(node), seen)
        if isinstance(node, ast.Subscript | ast.Starred | ast.Await | ast.NamedExpr):
            return self.descriptor(node.value, seen)
        parts = _parts(node)
        return self._all(parts, seen) if parts else {Descriptor.UNKNOWN}

    def _all(self, expressions: list[ast.expr], seen: frozenset[int]) -> set[Descriptor]:
        found = set[Descriptor]().union(*(self.descriptor(expression, seen) for expression in expressions))
        return found if expressions else {Descriptor.UNKNOWN}

    def _called(self, node: ast.Call, seen: frozenset[int]) -> set[Descriptor]:
        called = self._names.resolve(node.func)
        given = [*node.args, *(word.value for word in node.keywords)]
        if called & SOCKETS:
            return {Descriptor.SOCKET}
        if called & COPIES and given:
            return self.descriptor(given[0], seen)
        within = set[Descriptor]().union(*(self.descriptor(item, seen) for item in given))
        if Descriptor.SOCKET in within:
            return {Descriptor.SOCKET}
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if called & FILES or method == "open" or any(name.startswith("tempfile.") for name in called):
            return {Descriptor.FILE}
        if isinstance(node.func, ast.Attribute) and method in SAME:
            return self.descriptor(node.func.value, seen)
        return self._all(self._sources(node), seen)

    def _sources(self, node: ast.expr) -> list[ast.expr]:
        """The expressions that a name, a member of self or a call of a function of this source may stand for."""
        if isinstance(node, ast.Attribute):
            is_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            return self._members.get(node.attr, []) if is_own else []
        if isinstance(node, ast.Call):
            functions = self._functions.get(_last_name(node.func), [])
            return [value for function in functions for value in self._returned.get(id(function), [])]
        assert isinstance(node, ast.Name)
        scope: Scope | None = self._scope.get(id(node))
        while scope is not None:
            if (id(scope), node.id) in self._bound:
                return self._bound[id(scope), node.id]
            if not isinstance(scope, ast.Module) and node.id in _parameters(scope):
                return self._arguments(scope, node.id)
            scope = self._outer.get(id(scope))
        return []

    def _arguments(self, function: Scope, name: str) -> list[ast.expr]:
        """What the calls in this source give for a parameter."""
        if isinstance(function, ast.Lambda | ast.Module):
            return []
        place = _parameters(function).index(name)
        found = []
        for call in self._calls.get(function.name, []):
            skipped = 1 if isinstance(call.func, ast.Attribute) and _parameters(function)[0] in {"self", "cls"} else 0
            found += [word.value for word in call.keywords if word.arg == name]
            found += call.args[place - skipped : place - skipped + 1] if place >= skipped else []
        return found

    def _place(self) -> None:
        tree = self._names.tree
        assert isinstance(tree, ast.Module)
        waiting: list[tuple[ast.AST, Scope]] = [(tree, tree)]
        while waiting:
            node, scope = waiting.pop()
            self._scope[id(node)] = scope
            inner: Scope = scope
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                self._outer[id(node)] = scope
                inner = node
            waiting += [(child, inner) for child in ast.iter_child_nodes(node)]

    def _bind(self, node: ast.AST) -> None:
        scope = self._scope[id(node)]
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._put(scope, target, node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.AugAssign) and node.value is not None:
            self._put(scope, node.target, node.value)
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            self._put(self._scope[id(node.iter)], node.target, node.iter)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._put(self._scope[id(node.context_expr)], node.optional_vars, node.context_expr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._functions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Return | ast.Yield) and node.value is not None:
            self._returned.setdefault(id(scope), []).append(node.value)
        elif isinstance(node, ast.Call):
            self._calls.setdefault(_last_name(node.func), []).append(node)
        elif isinstance(node, ast.Global):
            self._share(scope, node.names)

    def _put(self, scope: Scope, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._bound.setdefault((id(scope), target.id), []).append(value)
        elif isinstance(target, ast.Attribute):
            self._members.setdefault(target.attr, []).append(value)
        elif isinstance(target, ast.Tuple | ast.List):
            is_pairwise = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
            values = (
                value.elts if is_pairwise and isinstance(value, ast.Tuple | ast.List) else [value] * len(target.elts)
            )
            for item, given in zip(target.elts, values, strict=True):
                self._put(scope, item, given)
        elif isinstance(target, ast.Starred):
            self._put(scope, target.value, value)

    def _share(self, scope: Scope, shared: list[str]) -> None:
        """A name declared global is the module's: one list of values for both."""
        tree = self._names.tree
        for name in shared:
            values = self._bound.setdefault((id(tree), name), [])
            values += self._bound.get((id(scope), name), [])
            self._bound[id(scope), name] = values


def _parameters(function: Scope) -> list[str]:
    if isinstance(function, ast.Module):
        return []
    given = function.args
    return [item.arg for item in (*given.posonlyargs, *given.args, *given.kwonlyargs)]


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _parts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return node.elts
    return [node.elt] if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp) else []
