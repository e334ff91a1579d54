"""Reads the `inputs` and `outputs` of a function."""

import difflib
import unicodedata

from mecapy_platform.core.errors import Problem
from mecapy_platform.core.manifest.document import Path
from mecapy_platform.core.manifest.models import PortJson
from mecapy_platform.core.manifest.reader import Reader, Stage, dotted
from mecapy_platform.core.types import FileType, TypeExpression, contains_file, contains_object, read_type

PORT_KEYS = ("type", "description", "required")
RESERVED = frozenset({"_output_files", "_artifacts"})
MAX_PORTS = 200


def read_ports(reader: Reader, value: object, path: Path, *, is_output: bool) -> dict[str, PortJson] | None:
    block = reader.mapping(value, path, "a mapping of port names to types")
    if block is None:
        return None
    if len(block) > MAX_PORTS:
        reader.problem(path, "out_of_range", f"{dotted(path)} has more than {MAX_PORTS} ports.")
        return None
    ports = {}
    for name, written in block.items():
        if not is_port_name(name):
            reader.problem(
                (*path, name),
                "bad_name",
                f"{name[:80]!r} is no port name; use letters, digits and underscores, at most 64.",
            )
        elif (port := _port(reader, written, (*path, name), is_output=is_output)) is not None:
            ports[name] = port
    return ports


def is_port_name(name: str) -> bool:
    plain = name.replace("-", "_")
    return (
        plain.isidentifier()
        and len(name) <= 64
        and name not in RESERVED
        and unicodedata.normalize("NFKC", name) == name
    )


def _port(reader: Reader, written: object, path: Path, *, is_output: bool) -> PortJson | None:
    expression, expression_path, description, required = written, path, None, True
    if isinstance(written, dict) and _is_long_form(written):
        block = reader.block(written, path, PORT_KEYS, ("type",))
        assert block is not None
        description = reader.text(block, "description", path, limit=4000)
        required = reader.flag(block, "required", path, default=True)
        if "type" not in block:
            return None
        expression, expression_path = block["type"], (*path, "type")
    kind = _type(reader, expression, expression_path, is_output=is_output)
    if kind is None:
        return None
    if is_output and not required and not isinstance(kind, FileType):
        reader.problem(
            (*path, "required"), "required_not_allowed", "only File outputs may be `required: false`.", Stage.TYPES
        )
    return {"type": str(kind), "description": description, "required": required}


def _is_long_form(written: dict[str, object]) -> bool:
    """A mapping is a port with a type, or itself the type (a struct). A lone misspelt `type` is not a field."""
    if any(key in PORT_KEYS for key in written):
        return True
    return len(written) == 1 and bool(difflib.get_close_matches(next(iter(written)), ["type"], cutoff=0.8))


def _type(reader: Reader, expression: object, path: Path, *, is_output: bool) -> TypeExpression | None:
    found: list[Problem] = []
    kind = read_type(expression, dotted(path), found)
    for problem in found:
        reader.problem_at(problem.path, reader.line_of(path), problem.code, problem.message, Stage.TYPES)
    if kind is None or found:
        return None
    if (problem_of := port_type_problem(kind, is_output=is_output)) is not None:
        reader.problem(path, *problem_of, Stage.TYPES)
        return None
    return kind


def port_type_problem(kind: TypeExpression, *, is_output: bool) -> tuple[str, str] | None:
    """What keeps a type from standing at a port, as code and sentence."""
    if is_output and contains_object(kind):
        return "object_output", "Object is for inputs only; name what the output is."
    if contains_file(kind) and not isinstance(kind, FileType):
        return "nested_file", "a File stands alone at its port, never inside a list, dict or struct."
    return None
