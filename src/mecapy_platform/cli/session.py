"""Which platform a command talks to and with which token: options, then environment, then the stored login."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mecapy_platform.cli.lazy import JSON_MODE
from mecapy_platform.client.client import Client
from mecapy_platform.client.credentials import CredentialsFile
from mecapy_platform.client.tokens import ClientCredentials, StaticToken, StoredLogin, TokenFile, TokenSource
from mecapy_platform.client.transport import checked_url
from mecapy_platform.core.errors import UnauthenticatedError


def _remember_json(asked: bool) -> bool:
    JSON_MODE.set(asked)
    return asked


UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The platform; MECAPY_API_URL, else where you logged in last."),
]
OrgOption = Annotated[
    str | None, typer.Option("--org", metavar="SLUG", help="Organization to act in; MECAPY_ORGANIZATION.")
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", help="JSON on stdout, for machines; all else on stderr.", callback=_remember_json, is_eager=True
    ),
]


def connect(url: str | None, organization: str | None, *, environment: Mapping[str, str] | None = None) -> Client:
    """The client that the options, the environment and the stored logins ask for."""
    env = os.environ if environment is None else environment
    file = CredentialsFile.default(env)
    named = url or env.get("MECAPY_API_URL")
    address = checked_url(named) if named else file.load().current
    if address is None:
        message = (
            "No platform is known. Start one here (mecapy up), then: mecapy login --url URL, or set "
            "MECAPY_API_URL and MECAPY_TOKEN."
        )
        raise UnauthenticatedError("not_logged_in", message)
    stored = file.load().get(address)
    organization = organization or env.get("MECAPY_ORGANIZATION") or (stored.organization if stored else None)
    return Client(address, _token_source(env, file, address), organization=organization)


def _token_source(env: Mapping[str, str], file: CredentialsFile, address: str) -> TokenSource:
    """A token of the environment wins; a stored one goes to the platform it was stored for, and to no other."""
    if token := env.get("MECAPY_TOKEN"):
        return StaticToken(token)
    issuer, client_id, secret = (env.get(f"MECAPY_{name}") for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"))
    if issuer and client_id and secret:
        return ClientCredentials(issuer, client_id, secret)
    stored = file.load().get(address)
    if stored is None:
        return StaticToken(None)
    if stored.token_file:
        return TokenFile(Path(stored.token_file))
    return StoredLogin(file, stored)
