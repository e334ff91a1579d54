"""Looks at a package and its environment for the report on deploy.

Static checks, what imports resolve to, what importing loaded.
"""

from __future__ import annotations

import os
import sys
from typing import Any

PACKAGE, SITE = "/package", "/site-packages"
MAX_NAMES = 2_000


def answer(mode: str, question: dict[str, Any], *, has_site: bool) -> str:
    """As JSON.

    `scan` and `imports` import nothing of the package, `describe` imports its handlers and says what that loaded.
    """
    import json

    if mode == "describe":
        from _mecapy_guest import describe, runner

        runner.set_paths(has_site=has_site)
        watch = ImportListener()
        described: dict[str, Any] = {name: describe.describe(handler) for name, handler in question.items()}
        return json.dumps({**described, "": watch.loaded()})
    sys.path[:] = [path for path in sys.path if path != "/mecapy"]
    return json.dumps(_scan(question) if mode == "scan" else _resolve(question))


def _scan(question: dict[str, Any]) -> dict[str, Any]:
    """The scanner lies where otherwise the environment of the package would."""
    import importlib

    sys.path.append(SITE)
    answer: dict[str, Any] = importlib.import_module("mecapy_platform.scan.main").run(question, PACKAGE)
    return answer


def _resolve(question: dict[str, Any]) -> dict[str, Any]:
    """Top-level names to [origin, place, distribution, what it shadows], in the order in which Python looks."""
    distributions, provided = _distributions()
    names = {name: _origin(name, provided) for name in question["names"][:MAX_NAMES]}
    return {"names": names, "distributions": distributions}


def _origin(name: str, provided: dict[str, str]) -> list[str]:
    found: list[tuple[str, str]] = []
    if name in sys.builtin_module_names:
        found.append(("standard", "built-in"))
    for origin, paths in (("package", [PACKAGE]), ("standard", _standard_paths()), ("library", [SITE])):
        place = _place(name, paths)
        if place is not None:
            found.append((origin, place))
    if not found:
        return ["nowhere", "", "", ""]
    shadows = next((origin for origin, _ in found[1:] if origin != found[0][0]), "")
    return [*found[0], provided.get(name, "") if found[0][0] == "library" else "", shadows]


def _place(name: str, paths: list[str]) -> str | None:
    from importlib.machinery import PathFinder

    try:
        spec = PathFinder.find_spec(name, paths)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), "") or ""


def _standard_paths() -> list[str]:
    return [path for path in sys.path if path not in {PACKAGE, SITE}]


def _distributions() -> tuple[list[dict[str, str]], dict[str, str]]:
    """Name, version and licence of everything installed, and which of them provides a top-level name."""
    from importlib.metadata import distributions

    listed: list[dict[str, str]] = []
    provided: dict[str, str] = {}
    for item in distributions(path=[SITE]) if os.path.isdir(SITE) else ():
        about = item.metadata
        name = str(about["Name"] or "")[:200]
        listed.append({"name": name, "version": str(about["Version"] or "")[:100], "licence": _licence(about)})
        for file in item.files or ():
            top = str(file).partition("/")[0]
            provided.setdefault(top.partition(".")[0], name)
    return sorted(listed, key=lambda entry: entry["name"].lower()), provided


def _licence(about: Any) -> str:
    """The expression, else the classifiers, else the first line of the free text."""
    if about["License-Expression"]:
        return str(about["License-Expression"])[:200]
    kinds = [
        str(item).rpartition("::")[2].strip()
        for item in about.get_all("Classifier") or ()
        if str(item).startswith("License ::")
    ]
    kinds = [kind for kind in kinds if kind != "OSI Approved"]
    if kinds:
        return "; ".join(kinds)[:200]
    lines = str(about["License"] or "").strip().splitlines()
    return lines[0][:200] if lines else ""


class ImportListener:
    """Hears every import that the package itself asks for, with the line that asked.

    As the first finder, which sees importlib too, and by an audit hook, which cannot be taken out again.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}
        self._own = (SITE + "/", "/mecapy/", os.path.dirname(os.__file__) + "/")
        self._standard = tuple(f"{path}/" for path in _standard_paths() if path)
        sys.addaudithook(self._hear)
        sys.meta_path.insert(0, self)

    def loaded(self) -> dict[str, list[str]]:
        """{module: [origin, place, file, line]} of what was loaded."""
        return {name: [*self._where(name), file, str(line)] for name, (file, line) in self._seen.items()}

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """Finds nothing, so that the next finder is asked."""
        self._note(name)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" and isinstance(arguments[0], str):
            self._note(arguments[0])

    def _note(self, name: str) -> None:
        frame: Any = sys._getframe(2)  # noqa: SLF001 - the line that asked
        while frame is not None and _is_machinery(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is not None and not frame.f_code.co_filename.startswith(self._own) and len(self._seen) < MAX_NAMES:
            self._seen.setdefault(name[:200], (frame.f_code.co_filename[:300], frame.f_lineno))

    def _where(self, name: str) -> tuple[str, str]:
        if name in sys.builtin_module_names:
            return "standard", "built-in"
        spec = getattr(sys.modules.get(name), "__spec__", None)
        place = str(
            getattr(spec, "origin", None) or next(iter(getattr(spec, "submodule_search_locations", None) or ()), "")
        )[:300]
        if place.startswith(PACKAGE + "/"):
            return "package", place
        if place.startswith(SITE + "/"):
            return "library", place
        if place in {"", "frozen"} or place.startswith(self._standard):
            return ("standard" if place else "nowhere"), place
        return "elsewhere", place


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen ") or file.endswith("/importlib/__init__.py")
