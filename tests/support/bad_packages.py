"""Packages and archives that are wrong in one way each, and the package of all bad handlers."""

import ast
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

SOURCE = (Path(__file__).parents[1] / "e2e/bad_handlers.py").read_text("utf-8")
HANDLERS = [
    node.name for node in ast.parse(SOURCE).body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
]
INPUTS = {
    "good": (
        "{value: {type: Float, required: false}, size: {type: Length, required: false}, text: {type: String, "
        "required: false}}"
    ),
    "anything": None,  # read from its signature
}
OUTPUTS = {"no_file": "{value: Float, report: 'File[csv]'}", "wrong_file": "{value: Float, report: 'File[csv]'}"}
MEMORY_MB = {"fork_until_refused": 1024}
HEAD = (
    'version: "1"\npackage: {{name: {name}, version: {version}}}\nruntime: {{kind: python, version: '
    '"3.11"{more}}}\nfunctions:\n'
)


def manifest() -> str:
    text = HEAD.format(name="bad", version="1.0.0", more="")
    for name in HANDLERS:
        inputs = INPUTS.get(name, "{}")
        text += f"  {name}:\n    handler: bad_handlers:{name}\n" + (f"    inputs: {inputs}\n" if inputs else "")
        text += f"    outputs: {OUTPUTS.get(name, '{value: Float}')}\n"
        text += f"    resources: {{cpu: 1, memory_mb: {MEMORY_MB.get(name, 128)}, timeout: 3}}\n"
    return text


def small_manifest(name: str = "small", version: str = "1.0.0", more: str = "", handler: str = "code:run") -> str:
    return (
        HEAD.format(name=name, version=version, more=more)
        + f"  run: {{handler: '{handler}', inputs: {{}}, outputs: {{}}}}\n"
    )


def zipped(change: Callable[[zipfile.ZipFile], object]) -> bytes:
    """A good package with something bad added."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("mecapy.yml", small_manifest())
        target.writestr("code.py", "def run():\n    return {}\n")
        change(target)
    return packed.getvalue()


def member(name: str, *, mode: int = 0o100644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def encrypted_archive() -> bytes:
    content = bytearray(zipped(lambda target: target.writestr("secret", "x" * 50)))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.rindex(signature) + offset] |= 1
    return bytes(content)
