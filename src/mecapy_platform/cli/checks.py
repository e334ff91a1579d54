"""`mecapy checks`: the policy of an organization, and the report of a version."""

from typing import Annotated

import typer

from mecapy_platform.cli.console import print_json, print_table, say
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.client.checks import ChecksReport
from mecapy_platform.client.client import Client
from mecapy_platform.core.errors import InvalidInputError

checks_app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Checks of packages: what is asked, what was found."
)


@checks_app.callback()
def checks_group() -> None:
    """Checks of packages: what is asked, what was found."""


@checks_app.command()
def policy(org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show which checks are off, warn, or are enforced, and from which severity on."""
    with connect(url, org) as client:
        found = client.checks.policy(_organization(client))
    if as_json:
        print_json(found)
        return
    say(f"organization {found['organization']}")
    rows = (
        (name, str(rule["mode"]), str(rule["from"]), "changed" if name in found["changes"] else "")
        for name, rule in found["checks"].items()
    )
    print_table(("check", "mode", "from", ""), rows)


@checks_app.command("set")
def change(
    changes: Annotated[
        list[str],
        typer.Argument(metavar="CHECK=MODE[:SEVERITY]", help="For example bandit=enforce:medium secrets=enforce."),
    ],
    reset: Annotated[bool, typer.Option("--reset", help="Forget earlier changes first.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the policy of an organization; administrators only. CHECK=default takes a change back."""
    with connect(url, org) as client:
        slug = _organization(client)
        wanted = {} if reset else dict(client.checks.policy(slug)["changes"])
        for item in changes:
            name, _, value = item.partition("=")
            mode, _, severity = value.partition(":")
            if not name or not mode:
                raise InvalidInputError("arguments", f"{item!r} is not CHECK=MODE or CHECK=MODE:SEVERITY.")
            if mode == "default":
                wanted.pop(name, None)
                continue
            before = wanted.get(name)
            kept = dict(before) if isinstance(before, dict) else {}
            wanted[name] = {**kept, "mode": mode, **({"from": severity} if severity else {})}
        found = client.checks.change(slug, wanted)
    if as_json:
        print_json(found)
    else:
        say(f"The policy of {found['organization']} is changed; it holds for what is deployed from now on.")


@checks_app.command()
def report(
    name: Annotated[
        str, typer.Argument(metavar="PACKAGE[@VERSION]", help="A package; its newest version when none is named.")
    ],
    every: Annotated[bool, typer.Option("--all", help="Findings of low severity too, and the licences.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the checks found in a version: file, line, rule, why, and what to do."""
    wanted, _, version = name.partition("@")
    with connect(url, org) as client:
        package = client.packages.find(wanted)
        found = client.checks.report(package.id, version or package.version)
    if as_json:
        print_json(found.raw)
        return
    show_report(found, every=every)
    if every and found.dependencies:
        say("")
        print_table(
            ("dependency", "version", "licence"),
            (
                (dependency["name"], dependency["version"], dependency["licence"] or "?")
                for dependency in found.dependencies
            ),
        )


def show_report(found: ChecksReport, *, every: bool = False) -> None:
    """A table of findings, what stops first, then one line for each check that says something."""
    shown = [finding for finding in found.findings if every or finding.stops or finding.severity != "low"]
    if shown:
        rows = (
            (
                ("STOPS" if item.stops else item.severity),
                item.place,
                f"{item.check}/{item.rule}",
                f"{item.why} {item.advice}",
            )
            for item in shown
        )
        print_table(("severity", "where", "rule", "why, and what to do"), rows)
    hidden = len(found.findings) - len(shown) + found.left_out
    states = [
        f"{check.check} {check.state}" + (f" ({check.found})" if check.found else "")
        for check in found.checks
        if check.state != "off"
    ]
    say("checks: " + ", ".join(states) + (f"; {hidden} more findings: mecapy checks report --all" if hidden else ""))
    for check in found.checks:
        if check.state == "not_checked":
            say(f"{check.check}: {check.said}")


def _organization(client: Client) -> str:
    """The named organization, else the only one, else the personal one."""
    if client.transport.organization:
        return client.transport.organization
    own = client.users.organizations()
    if len(own) == 1:
        return str(own[0]["slug"])
    return f"user:{client.users.me().preferred_username}"
