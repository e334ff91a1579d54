"""`mecapy download`: the files of a task."""

from pathlib import Path
from typing import Annotated

import typer

from mecapy_platform.cli.console import print_json, say, size_text
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.core.errors import NotFoundError


def download(
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="Id of the task.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Only these files.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where to; never written outside of it.")
    ] = Path(),
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download the files of a task. What broke off goes on where it stopped; digests are checked."""
    with connect(url, org) as client:
        found = client.artifacts.of_task(task_id)
        missing = set(names or ()) - {item.name for item in found}
        if missing:
            there = ", ".join(item.name for item in found) or "none"
            raise NotFoundError(
                "artifact_not_found", f"Task {task_id} has no file {', '.join(sorted(missing))}. It has: {there}."
            )
        wanted = tuple(item for item in found if not names or item.name in names)
        paths = client.artifacts.download_all(wanted, output)
    if as_json:
        print_json(
            [
                {"name": item.name, "path": str(path), "size_bytes": item.size_bytes}
                for item, path in zip(wanted, paths, strict=True)
            ]
        )
        return
    for item, path in zip(wanted, paths, strict=True):
        say(f"saved {path}  {size_text(item.size_bytes)}")
    if not found:
        say(f"Task {task_id} has no files.")
