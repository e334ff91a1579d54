"""`mecapy logs`: what a task printed, and what it goes on printing."""

import json
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from mecapy_platform.cli.console import hint, print_json
from mecapy_platform.cli.lazy import printable
from mecapy_platform.cli.progress import progress_text
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.client.logs import LogEntry


def logs(
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="Id of the task.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the task has ended.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Leave out entries up to this index.")] = 0,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a task prints: its stdout on stdout, all else on stderr. With --json one object a line."""
    with connect(url, org) as client:
        _print(
            client.logs.read(task_id, follow=follow, after=after, on_break=lambda error: hint(f"({error.message})")),
            as_json=as_json,
        )


def _print(entries: Iterable[LogEntry], *, as_json: bool) -> None:
    for entry in entries:
        if as_json:
            print_json(
                {
                    "index": entry.index,
                    "attempt": entry.attempt,
                    "kind": entry.kind,
                    "text": entry.text,
                    "created_at": entry.created_at,
                }
            )
        elif entry.kind in {"stdout", "stderr"}:
            typer.echo(_shown(entry), nl=False, err=entry.kind == "stderr")
        else:
            typer.secho(f"[{_told(entry)}]", err=True, dim=True)
        sys.stdout.flush()


def _shown(entry: LogEntry) -> str:
    """Raw for a file or a pipe; on a terminal without what could steer it."""
    stream = sys.stderr if entry.kind == "stderr" else sys.stdout
    return printable(entry.text) if stream.isatty() else entry.text


def _told(entry: LogEntry) -> str:
    if entry.kind == "progress":
        try:
            record = json.loads(entry.text)
        except ValueError:
            record = None
        if isinstance(record, dict):
            return printable(progress_text(record) or entry.text)
    return printable(entry.text.rstrip("\n"))
