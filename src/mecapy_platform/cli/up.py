"""`mecapy up`: the whole platform on this machine, in the foreground, until Ctrl-C."""

import shlex
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from mecapy_platform.cli.lazy import resolve
from mecapy_platform.core.errors import MecapyError
from mecapy_platform.embedded.content import Ready
from mecapy_platform.embedded.launcher import Launcher, Options
from mecapy_platform.embedded.layout import default_root
from mecapy_platform.embedded.program import Program

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Directory that keeps everything; .mecapy of this directory by default.")
]


def up(
    data: DataOption = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the API; 8000 or the next free one by default.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Anything but loopback opens the platform to the network.")
    ] = "127.0.0.1",
    ready_file: Annotated[
        Path | None, typer.Option(help="Write URL, token and pids as JSON here once everything answers.")
    ] = None,
) -> None:
    """Start the platform on this machine and keep it running."""
    console = Console(highlight=False, soft_wrap=True)
    options = Options((data or default_root()).absolute(), host, port, ready_file.absolute() if ready_file else None)

    def say(line: str) -> None:
        console.print(f"mecapy: {line}", markup=False)

    def greet(ready: Ready) -> None:
        show_greeting(console, ready, host)

    try:
        Launcher(options, load_program, say).run(greet)
    except MecapyError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"mecapy up: {error.message}", markup=False)
        raise typer.Exit(1) from error


def load_program() -> Program:
    """Import the platform while its database starts; every part forks from these imports."""
    return cast("Program", resolve("mecapy_platform.bootstrap"))


def show_greeting(console: Console, ready: Ready, host: str) -> None:
    """URL, token, and the next three commands."""
    data = shlex.quote(ready.data)
    lines = (
        "",
        f"MecaPy answers at {ready.url}, its API is described at {ready.url}/docs",
        f"data          {ready.data}",
        f"organization  {ready.organization}",
        f"token         {ready.token}",
        "",
        "Try next, in another terminal:",
        f"  mecapy login --data {data}",
        "  mecapy init cantilever && mecapy deploy cantilever",
        "  mecapy run cantilever:deflection load=100N length='1 m' diameter='20 mm'",
        "",
        f"Tokens for others: mecapy token --data {data} --user NAME --organization {ready.organization}",
        "Ctrl-C stops it.",
    )
    for line in lines:
        console.print(line, markup=False)
    if host not in {"127.0.0.1", "::1", "localhost"}:
        console.print(f"Listening on {host}: others on the network reach it. Put TLS in front of it.", markup=False)
