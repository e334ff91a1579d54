"""`mecapy server ..`: one part of the platform, for production, where each runs in its own container.

Settings come from MECAPY_*.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from mecapy_platform import bootstrap
from mecapy_platform.core.errors import ConfigurationError, MecapyError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.embedded.companions import production_command
from mecapy_platform.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Run one part of the platform (production).")


@app.command()
def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Serve the HTTP API."""
    with _said() as settings:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family, backlog=1024) as listener:
            bootstrap.run_api(settings(), listener)


@app.command()
def worker(lanes: Annotated[str, typer.Option(help="Lanes to serve, separated by commas.")] = ",".join(Lane)) -> None:
    """Run calculations."""
    chosen = tuple(part.strip() for part in lanes.split(",") if part.strip())
    if not chosen or (unknown := set(chosen) - set(Lane)):
        raise typer.BadParameter(
            f"lanes are {', '.join(Lane)}; not: {', '.join(sorted(unknown)) if chosen else 'nothing'}",
            param_hint="--lanes",
        )
    with _said() as settings:
        bootstrap.run_worker(settings(), chosen)


@app.command()
def relay() -> None:
    """Carry events out of the database and sweep what was lost."""
    with _said() as settings:
        bootstrap.run_relay(settings())


@app.command()
def broker(
    socket_path: Annotated[Path, typer.Option("--socket", help="Where workers reach it.")],
    owner: Annotated[int, typer.Option(min=0, help="The workers' user id, which alone may ask.")],
    root: Annotated[list[str], typer.Option(help="A folder that containers may be shown; may be repeated.")],
) -> None:
    """Speak with the Docker daemon for the workers of this machine, which then need no rights on it."""
    with _said() as settings:
        argv = production_command(settings(), socket_path, owner, root)
        if not argv:
            raise ConfigurationError(
                "no_broker_needed",
                "No backend of these settings needs a broker. Set MECAPY_SANDBOX_BACKENDS or MECAPY_IMAGES_BACKEND.",
            )
        os.execv(argv[0], list(argv))  # noqa: S606 - no shell is the point


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    with _said() as settings:
        bootstrap.migrate(settings())


@contextmanager
def _said() -> Iterator[Callable[[], Settings]]:
    """Turn what goes wrong at start into a sentence and exit status 1."""
    try:
        yield Settings
    except ValidationError as error:
        problems = "; ".join(
            f"MECAPY_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}" for item in error.errors()
        )
        typer.echo(f"mecapy server: settings cannot be used: {problems}", err=True)
        raise typer.Exit(1) from error
    except (MecapyError, OSError) as error:
        typer.echo(f"mecapy server: {error}", err=True)
        raise typer.Exit(1) from error
