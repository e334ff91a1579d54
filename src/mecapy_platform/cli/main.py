"""The command `mecapy`: its commands by name. Nothing is imported here that `mecapy --help` does not need."""

from typing import Annotated

import typer

from mecapy_platform.cli.exits import LEGEND
from mecapy_platform.cli.group import Entry, lazy_group
from mecapy_platform.version import VERSION

HERE = "mecapy_platform.cli"
WRITE, RUN, ACCOUNT, PLATFORM = "Write a package", "Run calculations", "Account", "Platform on this machine"

ENTRIES = {
    "init": Entry(f"{HERE}.init:init", "Write a new package that passes its own test.", WRITE),
    "test": Entry(
        f"{HERE}.testcases:run_locally", "Run a package's test cases on this machine, without a platform.", WRITE
    ),
    "deploy": Entry(f"{HERE}.packages:deploy", "Deploy a package: a folder or a zip.", WRITE),
    "checks": Entry(f"{HERE}.checks:checks_app", "Checks of packages: policy, and what was found.", WRITE),
    "packages": Entry(f"{HERE}.packages:packages", "List packages and their functions.", WRITE),
    "types": Entry(f"{HERE}.catalog:types", "Show the types of ports and their units.", WRITE),
    "run": Entry(f"{HERE}.run:run", "Run a function: mecapy run bolts:size diameter='12 mm' load=20kN", RUN),
    "tasks": Entry(f"{HERE}.tasks:tasks", "List tasks, newest first.", RUN),
    "task": Entry(f"{HERE}.tasks:task_app", "Look at one task: mecapy task show ID", RUN),
    "logs": Entry(f"{HERE}.logs:logs", "Print what a task prints; -f follows it.", RUN),
    "download": Entry(f"{HERE}.download:download", "Download the files of a task.", RUN),
    "cancel": Entry(f"{HERE}.tasks:cancel", "Cancel a queued or running task.", RUN),
    "retry": Entry(f"{HERE}.tasks:retry", "Run an ended task again.", RUN),
    "study": Entry(f"{HERE}.study:study_app", "Vary a function over many points: designs of experiments.", RUN),
    "schedule": Entry(f"{HERE}.schedules:schedule_app", "Run a function again and again, at times of a calendar.", RUN),
    "workflow": Entry(
        f"{HERE}.workflow_runs:workflow_app", "Workflows: graphs of calculations, as YAML and as runs.", RUN
    ),
    "approvals": Entry(f"{HERE}.workflow_runs:approvals_app", "Approve or reject what waits for a person.", RUN),
    "login": Entry(f"{HERE}.login:login", "Log in to a platform.", ACCOUNT),
    "logout": Entry(f"{HERE}.login:logout", "Forget a login.", ACCOUNT),
    "whoami": Entry(f"{HERE}.login:whoami", "Say who you are, and where.", ACCOUNT),
    "up": Entry(f"{HERE}.up:up", "Start the whole platform on this machine.", PLATFORM, needs_server=True),
    "doctor": Entry(
        f"{HERE}.doctor:doctor", "Check sandbox, services, disk and versions.", PLATFORM, needs_server=True
    ),
    "token": Entry(f"{HERE}.token:token", "Print a token of the embedded issuer.", PLATFORM, needs_server=True),
    "server": Entry(f"{HERE}.server:app", "Run one part of the platform (production).", PLATFORM, needs_server=True),
}

app = typer.Typer(
    cls=lazy_group(ENTRIES),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=LEGEND,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mecapy {VERSION}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Mechanical-engineering calculations as a service: write, deploy, run."""
