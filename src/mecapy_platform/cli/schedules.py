"""`mecapy schedule`: run a function at times of a calendar."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from mecapy_platform.cli.arguments import Arguments, parse_arguments, parse_target, parse_value
from mecapy_platform.cli.console import hint, print_json, print_pairs, print_table, say
from mecapy_platform.cli.lazy import resolve
from mecapy_platform.cli.run import READING, ports_of
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.client.client import Client
from mecapy_platform.client.schedules import Schedule
from mecapy_platform.core.errors import InvalidInputError

schedule_app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Run a function again and again, at times of a calendar."
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of a schedule.")]


class MissedChoice(StrEnum):
    SKIP = "skip"
    CATCH_UP = "catch_up"


class OverlapChoice(StrEnum):
    ALLOW = "allow"
    SKIP = "skip"
    REPLACE = "replace"


@schedule_app.callback()
def schedule_group() -> None:
    """Run a function again and again, at times of a calendar."""


@schedule_app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name for the schedule.")],
    cron: Annotated[str, typer.Argument(metavar="CRON", help='Five fields: "30 6 * * 1-5" is 6:30 on working days.')],
    target: Annotated[str, typer.Argument(metavar="PACKAGE:FUNCTION|WORKFLOW", help="What to run.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE", help="diameter='12 mm' n=4")] = None,
    zone: Annotated[str, typer.Option(help="Time zone, as Europe/Paris.")] = "UTC",
    missed: Annotated[MissedChoice, typer.Option(help="Times at which the platform was away.")] = MissedChoice.SKIP,
    overlap: Annotated[OverlapChoice, typer.Option(help="While the one before still runs.")] = OverlapChoice.ALLOW,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a schedule. What it runs is tried now, as a request would be."""
    given = parse_arguments(arguments or [], None)
    if given.files:
        raise InvalidInputError("arguments", "A schedule takes values; give it files inside the package.")
    options = {"time_zone": zone, "missed": missed.value, "overlap": overlap.value}
    with connect(url, org) as client:
        made = client.schedules.create(name, cron, **_target(client, target, given), **options)
    if as_json:
        print_json(made.raw)
        return
    say(f"{made.name}: {made.explained} ({made.time_zone})")
    hint(f"next: {_next(made)}   look: mecapy schedule show {made.name}")


@schedule_app.command("list")
def list_schedules(org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List the schedules of the organization."""
    with connect(url, org) as client:
        found = client.schedules.all()
    if as_json:
        print_json([schedule.raw for schedule in found])
        return
    rows = ((item.name, _what(item), item.cron, item.time_zone, _next(item) or "paused") for item in found)
    print_table(("name", "runs", "cron", "time zone", "next"), rows)


@schedule_app.command()
def show(name: NameArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show a schedule: when it fires next, and what came of the last times."""
    with connect(url, org) as client:
        found = client.schedules.find(name)
        firings = client.schedules.firings(found.id, limit=10)
    if as_json:
        print_json({**found.raw, "firings": [firing.raw for firing in firings]})
        return
    upcoming = ", ".join(time.isoformat(timespec="minutes") for time in found.next_times)
    print_pairs(
        (
            ("name", found.name),
            ("runs", _what(found)),
            ("when", f"{found.explained} ({found.cron}, {found.time_zone})"),
            ("missed", found.missed),
            ("overlap", found.overlap),
            ("next", upcoming or "paused"),
        )
    )
    if firings:
        say("")
        rows = (
            (
                firing.due_at.isoformat(timespec="minutes"),
                firing.outcome,
                firing.made_id or (firing.error.message if firing.error else ""),
            )
            for firing in firings
        )
        print_table(("time", "outcome", "made, or why not"), rows)


@schedule_app.command()
def pause(name: NameArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Fire no more until it is resumed."""
    _change(name, org, url, as_json=as_json, is_paused=True)


@schedule_app.command()
def resume(name: NameArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Go on firing, from the next time on."""
    _change(name, org, url, as_json=as_json, is_paused=False)


@schedule_app.command()
def delete(name: NameArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Delete a schedule; what it has run stays."""
    with connect(url, org) as client:
        found = client.schedules.find(name)
        client.schedules.delete(found.id)
    print_json({"deleted": found.id}) if as_json else say(f"{found.name} is deleted.")


def _change(name: str, org: str | None, url: str | None, *, as_json: bool, is_paused: bool) -> None:
    with connect(url, org) as client:
        changed = client.schedules.change(client.schedules.find(name).id, is_paused=is_paused)
    if as_json:
        print_json(changed.raw)
    else:
        say(f"{changed.name} is paused." if is_paused else f"{changed.name} fires next: {_next(changed)}")


def _target(client: Client, target: str, given: Arguments) -> dict[str, Any]:
    """A function, which has a colon in its name, or a workflow."""
    if ":" not in target:
        values = {**given.inputs, **{name: parse_value(text) for name, text in given.texts.items()}}
        return {"run": {"workflow": target, "inputs": values}}
    parsed = parse_target(target)
    values = resolve(f"{READING}:read_arguments")(given, ports_of(client, parsed, given))
    task = {"package": parsed.package, "function": parsed.function, "inputs": values.inputs}
    return {"task": {**task, "version": parsed.version} if parsed.version else task}


def _next(schedule: Schedule) -> str:
    return schedule.next_times[0].isoformat(timespec="minutes") if schedule.next_times else ""


def _what(schedule: Schedule) -> str:
    target = schedule.target
    if schedule.kind != "task":
        return f"{schedule.kind} {target.get('workflow') or target.get('study')}"
    version = f"@{target['version']}" if target.get("version") else ""
    return f"{target.get('package')}{version}:{target.get('function')}"
