"""A command group that imports a command's module only when that command runs, so that `mecapy --help` stays fast."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from mecapy_platform.cli.exits import ExitCode, exit_code
from mecapy_platform.cli.lazy import JSON_MODE, printable, resolve
from mecapy_platform.core.errors import ConfigurationError, MecapyError


@dataclass(frozen=True)
class Entry:
    """Where a command lives: `module:attribute`, a function or a Typer application."""

    target: str
    help: str
    panel: str
    needs_server: bool = False


def lazy_group(entries: dict[str, Entry]) -> type[TyperGroup]:
    """A group class over the entries, for `typer.Typer(cls=..)`."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, entry in entries.items():
                self.commands[name] = TyperCommand(name=name, help=entry.help, rich_help_panel=entry.panel)

        def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
            name, command, rest = super().resolve_command(ctx, args)
            return name, command if name is None else _guarded(lambda: load(name, entries[name])), rest

        def invoke(self, ctx: Any) -> Any:
            return _guarded(lambda: super(LazyGroup, self).invoke(ctx))

    return LazyGroup


def load(name: str, entry: Entry) -> Any:
    """Import a command. What is missing without [server] is said, not raised."""
    try:
        target = resolve(entry.target)
    except ModuleNotFoundError as error:
        if not entry.needs_server or (error.name or "").startswith("mecapy_platform"):
            raise
        message = (
            f"`mecapy {name}` needs the platform itself, which is not installed here: pip install "
            f'"mecapy-platform[server]"'
        )
        raise ConfigurationError("server_not_installed", message) from error
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(name, epilog=None)(cast("Callable[..., None]", target))
        target = app
    command = get_command(target)
    command.name = name
    return command


def show_error(error: MecapyError) -> None:
    """Say an error with all its problems: on stderr for people, as JSON on stdout for machines."""
    if JSON_MODE.get():
        problems = [problem.as_dict() for problem in error.problems]
        typer.echo(json.dumps({"error": {"code": error.code, "message": error.message, "problems": problems}}))
        return
    typer.secho(f"error: {printable(error.message)}", err=True, fg=typer.colors.RED)
    for problem in error.problems:
        if problem.message == error.message:
            continue
        says_where = not problem.path or problem.message.startswith(f"{problem.path}:")
        where = "" if says_where else f"{printable(problem.path)}: "
        typer.echo(f"  {where}{printable(problem.message)}", err=True)


def _guarded(action: Callable[[], Any]) -> Any:
    """Run, and turn what goes wrong into a sentence and an exit code; MECAPY_DEBUG=1 shows the traceback instead."""
    try:
        return action()
    except MecapyError as error:
        if os.environ.get("MECAPY_DEBUG"):
            raise
        show_error(error)
        raise typer.Exit(exit_code(error)) from error
    except KeyboardInterrupt as error:
        typer.echo("Stopped.", err=True)
        raise typer.Exit(130) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, ImportError, AssertionError) as error:
        if os.environ.get("MECAPY_DEBUG"):
            raise
        message = (
            f"`mecapy` met something it does not understand ({type(error).__name__}: {error}). Is the platform "
            f"of another version?"
        )
        show_error(MecapyError("client_fault", f"{message} MECAPY_DEBUG=1 shows where."))
        raise typer.Exit(ExitCode.UNREACHABLE) from error
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(ExitCode.FAILED) from None
    except OSError as error:
        if os.environ.get("MECAPY_DEBUG"):
            raise
        where = f" ({error.filename})" if error.filename else ""
        show_error(ConfigurationError("system", f"{error.strerror or error}{where}."))
        raise typer.Exit(ExitCode.USAGE) from error
