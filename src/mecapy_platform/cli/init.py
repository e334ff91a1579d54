"""`mecapy init`: a new package that passes its own test."""

from pathlib import Path
from typing import Annotated

import typer

from mecapy_platform.cli.console import say
from mecapy_platform.client.starter import write_package


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the package: small letters, digits, hyphens.")],
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Where to; a folder of that name by default.")
    ] = None,
) -> None:
    """Write a new package: manifest, calculation, test case."""
    folder = directory or Path(name)
    for path in write_package(folder, name):
        say(f"wrote {path}")
    say(f"\nNext:\n  mecapy test {folder}\n  mecapy deploy {folder}")
