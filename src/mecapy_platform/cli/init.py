"""`mecapy init`: a new package that passes its own test."""

from pathlib import Path
from typing import Annotated

import typer

from mecapy_platform.cli.console import say
from mecapy_platform.client.starter import write_package


def init(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A new folder; its last part is the package's name: small letters, digits, hyphens."
        ),
    ],
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Another folder to write to, of whatever name.")
    ] = None,
) -> None:
    """Write a new package: manifest, calculation, test case."""
    folder = directory or path.expanduser()
    for written in write_package(folder, path.expanduser().absolute().resolve().name):
        say(f"wrote {written}")
    say(f"\nNext:\n  mecapy test {folder}\n  mecapy deploy {folder}")
