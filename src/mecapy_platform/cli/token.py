"""`mecapy token`: a token of the embedded issuer for any user.

The API makes user and membership when it first sees them.
"""

import re
from pathlib import Path
from typing import Annotated

import typer

from mecapy_platform.core.errors import InvalidInputError, MecapyError
from mecapy_platform.embedded import content
from mecapy_platform.embedded.layout import Layout, default_root
from mecapy_platform.embedded.tokens import Person

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def token(
    user: Annotated[str, typer.Option(help="User name; made on first use.")],
    organization: Annotated[
        list[str] | None, typer.Option(help="Slug of an organization; made on first use. May be given more than once.")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(help="Realm role, for example admin. May be given more than once.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data directory of the platform; .mecapy here by default.")
    ] = None,
    hours: Annotated[int, typer.Option(min=1, max=24 * 366, help="How long the token is good for.")] = 24 * 30,
) -> None:
    """Print a token of the platform whose data is in --data."""
    try:
        person = Person(
            _checked(USER, user, "user"),
            tuple(_checked(SLUG, item, "organization") for item in organization or ()),
            tuple(role or ()),
        )
        typer.echo(content.token(Layout((data or default_root()).resolve()), person, hours * 3600))
    except MecapyError as error:
        typer.echo(f"mecapy token: {error.message}", err=True)
        raise typer.Exit(1) from error


def _checked(form: re.Pattern[str], value: str, what: str) -> str:
    if not form.fullmatch(value):
        raise InvalidInputError(
            "invalid_name",
            f"{value!r} is no {what} name: use letters a-z, digits and hyphens, starting with a letter or digit.",
        )
    return value
