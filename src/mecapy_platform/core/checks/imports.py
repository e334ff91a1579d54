"""Which modules a package imports, and what the policy says of what they resolve to.

Resolution itself happens in the sandbox.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mecapy_platform.core.checks.decode import Source
from mecapy_platform.core.checks.findings import CheckName, Finding, Severity
from mecapy_platform.core.checks.hostile.fold import HOLE
from mecapy_platform.core.checks.hostile.names import IMPORTERS, Names

MAX_IMPORTS = 2_000


class Origin(StrEnum):
    """Where Python finds a module inside the sandbox."""

    STANDARD = "standard"
    PACKAGE = "package"
    LIBRARY = "library"
    ELSEWHERE = "elsewhere"
    NOWHERE = "nowhere"


@dataclass(frozen=True)
class Import:
    """A module named at a line; `is_optional`: inside a try or a test, so that it may be absent."""

    module: str
    file: str
    line: int
    is_optional: bool = False


@dataclass(frozen=True)
class Resolved:
    """What a top-level name stands for in the version's environment, and where it lies. `shadows`: what it hides."""

    origin: Origin
    place: str = ""
    distribution: str = ""
    shadows: str = ""


def imports_of(source: Source, names: Names) -> tuple[list[Import], list[Finding]]:
    """Absolute imports, with those by __import__ and importlib; findings for names that nobody knows before the run."""
    optional = _optional_nodes(source.tree)
    found: dict[str, Import] = {}
    findings: list[Finding] = []
    for node in names.nodes():
        for module in _modules(node, names):
            found.setdefault(module, Import(module, source.path, getattr(node, "lineno", 0), id(node) in optional))
        if isinstance(node, ast.Call) and names.resolve(node.func) & set(IMPORTERS) and node.args:
            text = names.folder.text(node.args[0])
            if text is None or HOLE in text:
                why = "It imports a module whose name is only known at run time."
                advice = "Import by name, or keep a dictionary of the modules that may be chosen."
                findings.append(_finding("import_unknown", Severity.MEDIUM, source.path, node.lineno, why, advice))
    return list(found.values())[:MAX_IMPORTS], findings


def _modules(node: ast.AST, names: Names) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module
        yield from (f"{node.module}.{name.name}" for name in node.names if name.name != "*")
    elif isinstance(node, ast.Call) and names.resolve(node.func) & set(IMPORTERS) and node.args:
        text = names.folder.text(node.args[0])
        if text and HOLE not in text and not text.startswith("."):
            yield text


def _optional_nodes(tree: ast.Module) -> set[int]:
    """Imports below a try, an if, or a function: absent modules there need not be a mistake."""
    found: set[int] = set()
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, is_optional = waiting.pop()
        if is_optional and isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            found.add(id(node))
        is_optional = is_optional or isinstance(node, ast.Try | ast.If | ast.FunctionDef | ast.AsyncFunctionDef)
        waiting += [(child, is_optional) for child in ast.iter_child_nodes(node)]
    return found


def judge_imports(
    imports: Sequence[Import], resolved: Mapping[str, Resolved], *, denied: Sequence[str], listed: Sequence[str] | None
) -> Iterator[Finding]:
    """What resolves decides. `listed` None: every library of the lock may be imported."""
    for item in imports:
        top = item.module.partition(".")[0]
        what = resolved.get(top, Resolved(Origin.NOWHERE))
        if what.origin is Origin.STANDARD:
            yield from _denied(item, denied)
        elif what.origin is Origin.LIBRARY and listed is not None and not _is_listed(item.module, what, listed):
            why = f"{top} ({what.distribution or 'a library'}) is not on the organization's list of libraries."
            yield _finding(
                "import_not_listed",
                Severity.HIGH,
                item.file,
                item.line,
                why,
                "Use a listed library, or ask an administrator to list it.",
            )
        elif what.origin is Origin.NOWHERE:
            severity = Severity.LOW if item.is_optional else Severity.MEDIUM
            why = f"Nothing provides {top}: not Python, not the package, not its requirements."
            yield _finding(
                "import_missing", severity, item.file, item.line, why, "Name the library in requirements.txt."
            )
        elif what.origin is Origin.ELSEWHERE:
            yield _finding(
                "import_elsewhere",
                Severity.HIGH,
                item.file,
                item.line,
                f"{top} lies outside the package and its environment.",
                "Remove it.",
            )


def judge_shadows(resolved: Mapping[str, Resolved]) -> Iterator[Finding]:
    """A module of the package that takes the place of a library, or of a module of Python."""
    for name, what in sorted(resolved.items()):
        if what.origin is Origin.PACKAGE and what.shadows:
            severity = Severity.MEDIUM if what.shadows == Origin.LIBRARY else Severity.LOW
            why = f"The package's own {name} takes the place of the {what.shadows} module of that name."
            yield _finding(
                "import_shadowed", severity, what.place.removeprefix("/package/"), 0, why, "Rename the module."
            )


def judge_loaded(loaded: Mapping[str, Sequence[str]], *, denied: Sequence[str]) -> Iterator[Finding]:
    """`loaded`: what importing the handlers really loaded at the package's own request.

    As {module: [origin, place, file, line]}.
    """
    for module, (origin, place, file, line) in sorted(loaded.items()):
        where = file.removeprefix("/package/")
        number = int(line) if line.isdigit() else 0
        if origin == Origin.ELSEWHERE:
            why = f"Importing the handlers loaded {module} from {place}, outside the package and its environment."
            yield _finding(
                "import_elsewhere", Severity.HIGH, where, number, why, "Keep every module inside the package."
            )
        elif origin == Origin.STANDARD:
            yield from _denied(Import(module, where, number), denied)


def _denied(one: Import, denied: Sequence[str]) -> Iterator[Finding]:
    if any(one.module == name or one.module.startswith(f"{name}.") for name in denied):
        why = f"{one.module} is on the list of modules that no calculation needs."
        yield _finding(
            "import_denied",
            Severity.HIGH,
            one.file,
            one.line,
            why,
            "Do without it, or ask an administrator to allow it.",
        )


def _is_listed(module: str, what: Resolved, listed: Sequence[str]) -> bool:
    names = {name.lower().replace("_", "-") for name in listed}
    top = module.partition(".")[0].lower().replace("_", "-")
    return top in names or what.distribution.lower().replace("_", "-") in names


def _finding(rule: str, severity: Severity, file: str, line: int, why: str, advice: str) -> Finding:
    return Finding(CheckName.IMPORTS, rule, severity, file, line, why, advice)
