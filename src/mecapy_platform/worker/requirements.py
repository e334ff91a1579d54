"""Reads a package's requirements.txt: names and versions from the index, nothing that reaches elsewhere."""

from packaging.requirements import InvalidRequirement, Requirement

from mecapy_platform.core.errors import InvalidInputError, Problem

MAX_BYTES = 256 * 1024
MAX_LINES = 500


def read_requirements(content: bytes) -> list[str]:
    """Normalised requirement lines. Options, URLs, paths and editable installs are refused, each with its line."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            "requirements_invalid", f"requirements.txt is not UTF-8: byte {error.start + 1}."
        ) from error
    if len(text) > MAX_BYTES or text.count("\n") > MAX_LINES:
        raise InvalidInputError(
            "requirements_too_long", f"requirements.txt may have {MAX_LINES} lines and {MAX_BYTES >> 10} KiB."
        )
    found: list[str] = []
    problems: list[Problem] = []
    for number, raw in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        line = raw.split(" #", 1)[0].split("--hash=", 1)[0].strip()
        if not line or line.startswith("#"):
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            why = (
                "options and paths are not allowed" if line.startswith(("-", ".", "/")) else str(error).splitlines()[0]
            )
            problems.append(Problem(f"requirements.txt:{number}", "requirement_invalid", f"{line[:100]!r}: {why}"))
            continue
        if requirement.url:
            problems.append(
                Problem(
                    f"requirements.txt:{number}",
                    "requirement_url",
                    f"{line[:100]!r}: only wheels of the package index are allowed.",
                )
            )
            continue
        found.append(str(requirement))
    if problems:
        raise InvalidInputError("requirements_invalid", "requirements.txt cannot be used.", problems=problems)
    return found
