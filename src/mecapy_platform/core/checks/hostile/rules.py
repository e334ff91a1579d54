"""The rules on hostile sources: each walks one source and names what it finds. `scan_source` runs them all."""

import ast
from collections.abc import Callable, Iterator

from mecapy_platform.core.checks.decode import Source, read_source
from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.core.checks.hostile import calls, looks
from mecapy_platform.core.checks.hostile.flow import Descriptor, Flow
from mecapy_platform.core.checks.hostile.fold import HOLE
from mecapy_platform.core.checks.hostile.names import Names
from mecapy_platform.core.checks.hostile.texts import hostile_texts

MAX_NESTED = 4  # exec of a text that execs a text ..
LEAVE = (
    "Write it as plain code. If a calculation truly needs this, ask an administrator of the organization to "
    "relax the check `hostile`."
)
SPEAKING = frozenset(("connect", "connect_ex", "accept", "create_connection", "create_server", "recv", "socketpair"))
SENDING = frozenset(("send", "sendall", "sendto", "post", "put", "request", "urlopen"))
HANDED_ON = frozenset(("builtins.exec", "builtins.eval"))
Rule = Callable[[Source, Names], Iterator[Finding]]


def scan_source(source: Source, names: Names | None = None, depth: int = 0) -> list[Finding]:
    """Findings of every rule, sorted by line, each rule once a line."""
    names = names or Names(source.tree)
    found: dict[tuple[str, int], Finding] = {}
    for rule in RULES:
        for finding in rule(source, names):
            found.setdefault((finding.rule, finding.line), finding)
    if depth < MAX_NESTED:
        for finding in _inside_texts(source, names, depth):
            found.setdefault((finding.rule, finding.line), finding)
    return sorted(found.values(), key=lambda finding: finding.line)


def _finding(
    source: Source, node: ast.AST, rule: str, why: str, severity: Severity = Severity.HIGH, advice: str = LEAVE
) -> Finding:
    return Finding(CheckName.HOSTILE, rule, severity, source.path, getattr(node, "lineno", 0), why, advice)


def _calls(names: Names) -> Iterator[tuple[ast.Call, set[str]]]:
    for node in names.nodes():
        if isinstance(node, ast.Call):
            yield node, names.resolve(node.func)


def texts(source: Source, names: Names) -> Iterator[Finding]:
    """Texts of an attack, also when they are put together from parts; not in docstrings."""
    shown = {
        id(node.value) for node in names.nodes() if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inner = {id(part) for node in names.nodes() if isinstance(node, ast.JoinedStr) for part in node.values}
    known: dict[str, list[tuple[str, str]]] = {}
    for node in names.nodes():
        if not isinstance(node, ast.expr) or id(node) in shown or id(node) in inner:
            continue
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.Call | ast.Subscript | ast.List | ast.Tuple):
            for text in _spoken(names.folder.fold(node)):
                if text not in known:
                    known[text] = list(hostile_texts(text))
                for rule, what in known[text]:
                    yield _finding(source, node, rule, f"A text that shows that {what}.")


def _spoken(value: object) -> Iterator[str]:
    """A text; the words of an argument list as one line."""
    if isinstance(value, bytes):
        yield value.decode("latin-1")
    elif isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        yield " ".join(item for item in value if isinstance(item, str))


def hidden_calls(source: Source, names: Names) -> Iterator[Finding]:
    """A dangerous call whose name is hidden.

    Getattr of a text, a subscript of builtins, an import by a made-up name.
    """
    for node, called in _calls(names):
        risky = sorted(called & calls.DANGEROUS)
        if risky and _is_hidden(node.func, names):
            yield _finding(source, node, "hidden_call", f"It calls {risky[0]} in a way that hides the name.")
        elif "builtins.getattr" in called and len(node.args) > 1 and _is_unknown(node.args[1], names):
            owners = names.resolve(node.args[0]) & calls.GUARDED_OWNERS
            if owners:
                is_called = any(isinstance(other, ast.Call) and other.func is node for other in names.nodes())
                severity = Severity.HIGH if owners - {"builtins"} or is_called else Severity.MEDIUM
                why = f"It takes an attribute of {min(owners)} by a name that is made up at run time."
                yield _finding(source, node, "hidden_attribute", why, severity)
        elif (
            called & {"builtins.__import__", "importlib.import_module"}
            and node.args
            and _is_hidden_text(node.args[0], names)
        ):
            yield _finding(
                source, node, "hidden_import", "It imports a module by a name that is put together from parts."
            )


def _is_hidden(func: ast.expr, names: Names) -> bool:
    if id(func) in names.hidden:
        return True
    return any(id(inner) in names.hidden for inner in ast.walk(func)) or (
        isinstance(func, ast.Name) and _is_bound_hidden(func.id, names)
    )


def _is_bound_hidden(name: str, names: Names) -> bool:
    """`run = getattr(os, "system")` before `run(..)`."""
    for node in names.nodes():
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.NamedExpr) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = node.value  # type: ignore[attr-defined]  # both kinds have one
            if any(id(inner) in names.hidden for inner in ast.walk(value)):
                return True
    return False


def _is_unknown(node: ast.expr, names: Names) -> bool:
    text = names.folder.text(node)
    return text is None or HOLE in text


def _is_hidden_text(node: ast.expr, names: Names) -> bool:
    text = names.folder.text(node)
    return text is not None and HOLE not in text and not isinstance(node, ast.Constant | ast.Name | ast.JoinedStr)


def run_of_hidden_code(source: Source, names: Names) -> Iterator[Finding]:
    """exec, eval or compile of something decoded, fetched or computed."""
    wanted = calls.RUNNERS | calls.CODE_MAKERS
    if not any(
        isinstance(node, ast.Name | ast.Attribute | ast.Call) and names.resolve(node) & wanted for node in names.nodes()
    ):
        return
    decoded = _names_of(names, _decodes)
    yield from _passed_on(source, names, decoded)
    fetched = _names_of(names, _downloads)
    for node, called in _calls(names):
        if called & calls.CODE_MAKERS and node.args and _decodes(node.args[0], names, decoded):
            yield _finding(source, node, "run_of_bytecode", "It makes a function from compiled code in a text.")
        if not called & calls.RUNNERS or not node.args:
            continue
        argument = node.args[0]
        if _decodes(argument, names, decoded):
            yield _finding(
                source, node, "run_of_decoded_text", "It runs a text that it decodes first: what it does is hidden."
            )
        elif _downloads(argument, names, fetched):
            yield _finding(source, node, "run_of_download", "It runs what it fetches over the network.")
        elif not isinstance(argument, ast.Constant) and _is_unknown(argument, names):
            why = "It runs a text as code that is only known at run time."
            yield _finding(
                source,
                node,
                "run_of_text",
                why,
                Severity.MEDIUM,
                "Prefer functions, ast.literal_eval or a parser of your own.",
            )


def _passed_on(source: Source, names: Names, decoded: set[str]) -> Iterator[Finding]:
    """Exec or eval as a value: handed to map, kept in a list, used as a decorator."""
    functions = {id(node.func) for node in names.nodes() if isinstance(node, ast.Call)}
    bound = {id(node.value) for node in names.nodes() if isinstance(node, ast.Assign | ast.Attribute)}
    for node in names.nodes():
        if (
            isinstance(node, ast.Name | ast.Attribute)
            and id(node) not in functions | bound
            and names.resolve(node) & HANDED_ON
        ):
            hides = any(_decodes(other, names, decoded) for other in names.nodes() if isinstance(other, ast.Call))
            why = "It hands exec or eval on as a value" + (", in a file that decodes texts." if hides else ".")
            yield _finding(source, node, "runner_as_value", why, Severity.HIGH if hides else Severity.MEDIUM)


def _decodes(node: ast.expr, names: Names, known: set[str]) -> bool:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id in known:
            return True
        if isinstance(inner, ast.Call) and (names.resolve(inner.func) & calls.DECODING or _is_fromhex(inner)):
            return True
        if isinstance(inner, ast.Name) and names.resolve(inner) & {"builtins.chr"}:
            return True
        if (
            isinstance(inner, ast.Subscript)
            and _is_backwards(inner)
            and isinstance(names.folder.fold(inner.value), str | bytes)
        ):
            return True
    return False


def _is_fromhex(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "fromhex"


def _is_backwards(node: ast.Subscript) -> bool:
    step = node.slice.step if isinstance(node.slice, ast.Slice) else None
    return isinstance(step, ast.UnaryOp) and isinstance(step.op, ast.USub)


def _downloads(node: ast.expr, names: Names, known: set[str]) -> bool:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id in known:
            return True
        if isinstance(inner, ast.Call):
            called = names.resolve(inner.func)
            if any(name.startswith(calls.DOWNLOADING) for name in called):
                return True
            if isinstance(inner.func, ast.Attribute) and inner.func.attr in {"recv", "recvfrom"}:
                return True
    return False


def _names_of(names: Names, test: Callable[[ast.expr, Names, set[str]], bool]) -> set[str]:
    """Variables, and functions whose return value, came from such an expression."""
    known: set[str] = set()
    for _ in range(3):
        known |= {
            target.id for target, value in names.assigned if isinstance(target, ast.Name) and test(value, names, known)
        }
        for node in names.nodes():
            if isinstance(node, ast.AugAssign | ast.For) and isinstance(node.target, ast.Name):
                if test(node.value if isinstance(node, ast.AugAssign) else node.iter, names, known):
                    known.add(node.target.id)
            elif isinstance(node, ast.FunctionDef):
                returned = [item.value for item in ast.walk(node) if isinstance(item, ast.Return) and item.value]
                if any(test(item, names, known) for item in returned):
                    known.add(node.name)
    return known


def shells(source: Source, names: Names) -> Iterator[Finding]:
    """A socket that becomes the standard streams; a terminal's shell. What counts is what is put there."""
    has_socket = any(module.partition(".")[0] == "socket" for module in names.modules) or "_socket" in names.modules
    flow = Flow(names) if has_socket else None
    for node, called in _calls(names):
        if "pty.spawn" in called:
            yield _finding(source, node, "reverse_shell", "It opens a shell on a terminal of its own.")
        elif flow is None:
            continue
        elif called & {"os.dup2"}:
            if _may_be_socket(node, names, flow):
                yield _finding(source, node, "reverse_shell", "It puts a socket in the place of a standard stream.")
        elif called & calls.PROCESS:
            streams = [word.value for word in node.keywords if word.arg in {"stdin", "stdout"}]
            if any(Descriptor.SOCKET in flow.descriptor(stream) for stream in streams):
                yield _finding(source, node, "reverse_shell", "It gives a socket to a program as a standard stream.")
            elif node.args and any(_is_download(item, names) for item in flow.reach(node.args[0])):
                yield _finding(source, node, "remote_command", "It runs commands that come over the network.")


def _may_be_socket(node: ast.Call, names: Names, flow: Flow) -> bool:
    """Of what nothing is known, the worst is thought where a socket of the source speaks to others."""
    given = [*node.args, *(word.value for word in node.keywords)]
    kinds = flow.descriptor(given[0]) if given else {Descriptor.UNKNOWN}
    if Descriptor.SOCKET in kinds or not kinds:
        return True
    return Descriptor.UNKNOWN in kinds and any(
        isinstance(item, ast.Attribute) and item.attr in SPEAKING for item in names.nodes()
    )


def _is_download(node: ast.AST, names: Names) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if any(name.startswith(calls.DOWNLOADING) for name in names.resolve(node.func)):
        return True
    return isinstance(node.func, ast.Attribute) and node.func.attr in {"recv", "recvfrom"}


def native(source: Source, names: Names) -> Iterator[Finding]:
    """Functions of the C library that reach into the kernel or into other processes, by ctypes or cffi."""
    if not {module.partition(".")[0] for module in names.modules} & {"ctypes", "_ctypes", "cffi"}:
        return
    for node in names.nodes():
        name = node.attr if isinstance(node, ast.Attribute) else None
        if isinstance(node, ast.Call) and "builtins.getattr" in names.resolve(node.func) and len(node.args) > 1:
            name = names.folder.text(node.args[1])
        if isinstance(node, ast.Subscript):
            name = names.folder.text(node.slice)
        if name in calls.NATIVE_FUNCTIONS and not _is_of_python(node, names):
            yield _finding(source, node, "native_call", f"It calls {name} of the C library directly.")
        elif isinstance(node, ast.Attribute) and "ctypes.pythonapi" in names.resolve(node):
            why = "It reaches into the interpreter by ctypes.pythonapi."
            yield _finding(source, node, "interpreter_internals", why, Severity.MEDIUM)


def _is_of_python(node: ast.AST, names: Names) -> bool:
    """`os.fork`, `mmap.mmap`: Python's own, judged by other rules."""
    if not isinstance(node, ast.Attribute):
        return False
    return any(name.partition(".")[0] not in {"ctypes", "cffi"} for name in names.resolve(node))


def insides(source: Source, names: Names) -> Iterator[Finding]:
    """Ways from a harmless value to the insides of the interpreter."""
    for node in names.nodes():
        name = node.attr if isinstance(node, ast.Attribute) else None
        owner: ast.expr | None = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(node, ast.Call) and "builtins.getattr" in names.resolve(node.func) and len(node.args) > 1:
            name, owner = names.folder.text(node.args[1]), node.args[0]
        if name not in calls.INSIDES or owner is None:
            continue
        walked = {item.attr for item in ast.walk(owner) if isinstance(item, ast.Attribute)}
        if name == "__subclasses__" and walked & {"__class__", "__bases__", "__base__", "__mro__"}:
            yield _finding(
                source, node, "escape_by_subclasses", "It looks for classes of the interpreter from a harmless value."
            )
        elif name == "__globals__" and (walked & {"__init__", "__class__", "__func__"} or isinstance(node, ast.Call)):
            yield _finding(
                source, node, "escape_by_globals", "It takes the globals of another module from one of its functions."
            )
        elif name == "__subclasses__" and names.resolve(owner) & {"builtins.object"}:
            yield _finding(source, node, "escape_by_subclasses", "It lists every class of the interpreter.")


def pickles(source: Source, names: Names) -> Iterator[Finding]:
    """A class whose pickle runs something when it is loaded."""
    for node in names.nodes():
        if isinstance(node, ast.FunctionDef) and node.name in {"__reduce__", "__reduce_ex__"}:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Tuple) and inner.value.elts:
                    risky = sorted(names.resolve(inner.value.elts[0]) & (calls.PROCESS | calls.RUNNERS))
                    if risky:
                        yield _finding(source, inner, "pickle_that_runs", f"Loading its pickle calls {risky[0]}.")


def environment(source: Source, names: Names) -> Iterator[Finding]:
    """The whole environment, given to what speaks to the network."""
    flow: Flow | None = None
    for node, called in _calls(names):
        is_method = isinstance(node.func, ast.Attribute) and node.func.attr in SENDING
        if not is_method and not any(name.startswith(calls.NETWORK) for name in called):
            continue
        flow = flow or Flow(names)
        for argument in (*node.args, *(word.value for word in node.keywords)):
            for inner in _whole_environment(flow.reach(argument), names):
                why = "It takes the whole environment and speaks to the network."
                yield _finding(source, inner, "environment_sent", why)


def _whole_environment(nodes: Iterator[ast.AST], names: Names) -> Iterator[ast.expr]:
    """`os.environ` itself; not a member of it, nor the result of a program that was started with it."""
    reached = list(nodes)
    owned = {id(item.value) for item in reached if isinstance(item, ast.Subscript | ast.Attribute)}
    started = [item for item in reached if isinstance(item, ast.Call) and names.resolve(item.func) & calls.PROCESS]
    owned |= {id(inner) for item in started for inner in ast.walk(item)}
    methods = {id(item.func) for item in reached if isinstance(item, ast.Call)}
    whole = {"items", "copy", "values", "keys"}
    for item in reached:
        if not isinstance(item, ast.Name | ast.Attribute):
            continue
        is_whole = isinstance(item, ast.Attribute) and item.attr in whole and id(item) in methods
        owner = item.value if is_whole and isinstance(item, ast.Attribute) else item
        if names.resolve(owner) & {"os.environ", "os.environb"} and (is_whole or id(item) not in owned):
            yield owner


def forks(source: Source, names: Names) -> Iterator[Finding]:
    """Processes without end, and files without end."""
    for node in names.nodes():
        if isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and node.test.value:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Call) and names.resolve(inner.func) & {"os.fork", "os.forkpty"}:
                    yield _finding(source, inner, "fork_bomb", "It starts processes without end.")


def destruction(source: Source, names: Names) -> Iterator[Finding]:
    for node, called in _calls(names):
        if called & {"shutil.rmtree", "os.removedirs"} and node.args:
            text = names.folder.text(node.args[0])
            if text in {"/", "/*", "~", "/home", "/etc", "/usr", "/var", "/root"}:
                yield _finding(source, node, "destruction", f"It removes {text}.")


RULES: tuple[Rule, ...] = (
    *(texts, hidden_calls, run_of_hidden_code, shells, native, insides, pickles, environment, forks, destruction),
    looks.look_alikes,
)


def _inside_texts(source: Source, names: Names, depth: int) -> Iterator[Finding]:
    """Code in a text that is run: read as a source of its own. The line is that of the call."""
    for node, called in _calls(names):
        if not called & calls.RUNNERS or not node.args:
            continue
        text = names.folder.text(node.args[0])
        if text is None or HOLE in text or not text.strip():
            continue
        inner, _ = read_source(source.path, text.encode("utf-8", "replace"))
        for finding in scan_source(inner, depth=depth + 1) if inner is not None else ():
            yield Finding(
                finding.check,
                finding.rule,
                finding.severity,
                source.path,
                node.lineno,
                f"In a text that it runs: {finding.why}",
                finding.advice,
            )
