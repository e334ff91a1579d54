"""`mecapy doctor`.

Looks at this machine and at a running platform, and says what to do about each thing that is wrong.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mecapy_platform.embedded.checks import check_all, check_sandboxes
from mecapy_platform.embedded.layout import default_root
from mecapy_platform.sandbox.base import Check
from mecapy_platform.settings import Settings

NOTE = (
    "A calculation in a bubblewrap sandbox ends with its worker and is started again elsewhere: "
    "calculations of hours belong on Docker or Kubernetes."
)


def doctor(
    data: Annotated[Path | None, typer.Option("--data", help="Data directory of a platform on this machine.")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Only try the sandboxes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check sandbox, services, disk and versions of this machine."""
    settings = Settings()
    root = (data or default_root()).absolute()
    checks = check_sandboxes(settings) if sandbox else check_all(root, settings)
    is_well = all(check.holds for check in checks if check.required)
    if as_json:
        typer.echo(json.dumps({"ok": is_well, "checks": [asdict(check) for check in checks], "note": NOTE}, indent=1))
    else:
        _show(checks)
    if not is_well:
        raise typer.Exit(1)


def _show(checks: list[Check]) -> None:
    table = Table("", "check", "found", box=None, pad_edge=False)
    for check in checks:
        mark = "[green]ok[/]" if check.holds else "[red]bad[/]" if check.required else "[yellow]missing[/]"
        table.add_row(mark, check.name, check.detail)
    console = Console(highlight=False)
    console.print(table)
    console.print(NOTE, markup=False)
