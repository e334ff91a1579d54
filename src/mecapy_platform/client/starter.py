"""A new package from the template beside this file: one function, one test case, both working."""

import re
import sys
from pathlib import Path

from mecapy_platform.core.errors import ConflictError, InvalidInputError

TEMPLATE = Path(__file__).parent / "template"
KEBAB = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
OLDEST, NEWEST = (3, 10), (3, 13)


def write_package(folder: Path, name: str) -> list[Path]:
    """Write a package called `name` into `folder`, which must be empty or absent; gives the files written."""
    if not KEBAB.match(name):
        suggestion = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "my-package"
        message = (
            f"'{name}' is no package name: small letters, digits and single hyphens, a letter first. Try "
            f"'{suggestion}'."
        )
        raise InvalidInputError("package_name", message)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(
            "folder_not_empty", f"{folder} exists and is not empty. Nothing was written; choose another name or --dir."
        )
    written = []
    for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        target = folder / source.relative_to(TEMPLATE)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8").replace("__NAME__", name)
        if source.name == "mecapy.yml":
            text = re.sub(r'version: "3\.\d+"', f'version: "{python_version()}"', text)
        target.write_text(text, encoding="utf-8", newline="\n")
        written.append(target)
    return written


def python_version() -> str:
    """The version of this interpreter, within what packages may ask for."""
    major, minor = max(OLDEST, min(NEWEST, sys.version_info[:2]))
    return f"{major}.{minor}"
