"""`mecapy server ..`: one part of the platform, for production, where each runs in its own container.

Settings come from MECAPY_*.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import ValidationError

from mecapy_platform import bootstrap
from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.lanes import Lane
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
            f"MECAPY_{'_'.join(str(part) for part in one['loc']).upper()}: {one['msg']}" for one in error.errors()
        )
        typer.echo(f"mecapy server: settings cannot be used: {problems}", err=True)
        raise typer.Exit(1) from error
    except (MecapyError, OSError) as error:
        typer.echo(f"mecapy server: {error}", err=True)
        raise typer.Exit(1) from error
