"""`mecapy login|logout|whoami`."""

import os
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from mecapy_platform.cli.console import hint, print_json, print_pairs, say
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.client.client import Client
from mecapy_platform.client.credentials import Credentials, CredentialsFile
from mecapy_platform.client.errors import LoginError
from mecapy_platform.client.issuer import find_issuer
from mecapy_platform.client.loopback import login_with_browser
from mecapy_platform.client.oidc import PUBLIC_CLIENT, Grant, Provider, discover, new_pkce, start_device, with_device
from mecapy_platform.client.tokens import StaticToken, TokenFile, TokenSource, read_connection
from mecapy_platform.client.transport import checked_url, is_loopback
from mecapy_platform.core.errors import ConfigurationError

CONNECTION = "connection.json"


def login(
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="The platform; MECAPY_API_URL.")] = None,
    token: Annotated[
        str | None, typer.Option(help="A token you already have; '-' asks for it without showing it.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data directory of `mecapy up` on this machine.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(metavar="URL", help="Login service, when the platform does not name it.")
    ] = None,
    client_id: Annotated[str, typer.Option(help="OpenID client.")] = PUBLIC_CLIENT,
    device: Annotated[
        bool, typer.Option("--device", help="Show a code to enter on another device; no browser here.")
    ] = False,
    org: OrgOption = None,
) -> None:
    """Log in: with the embedded platform's data directory, with a token, or through the browser."""
    if data is not None:
        path = (data / CONNECTION).absolute()
        found = read_connection(path)
        _keep(
            Credentials(checked_url(found["url"]), token_file=str(path), organization=org or found["organization"]),
            TokenFile(path),
        )
        return
    named = url or os.environ.get("MECAPY_API_URL")
    if not named:
        raise ConfigurationError(
            "no_url",
            "Which platform? mecapy login --url URL, or mecapy login --data DIR for one started by `mecapy up`.",
        )
    address = checked_url(named)
    if address.startswith("http://") and not is_loopback(address):
        hint(f"warning: {address} is not encrypted; others on the network can read your token.")
    if token is not None:
        value = typer.prompt("Token", hide_input=True, err=True) if token == "-" else token  # noqa: S105 -- asks for one, holds none
        _keep(Credentials(address, token=value, organization=org), StaticToken(value))
        return
    provider = discover(issuer or find_issuer(address))
    grant = _grant(provider, client_id, use_device=device)
    stored = Credentials(
        address,
        token=grant.access_token,
        refresh_token=grant.refresh_token,
        expires_at=grant.expires_at,
        issuer=provider.issuer,
        client_id=client_id,
        organization=org,
    )
    _keep(stored, StaticToken(grant.access_token))


def logout(url: UrlOption = None) -> None:
    """Forget the login of a platform."""
    file = CredentialsFile.default(os.environ)
    address = checked_url(url) if url else file.load().current
    say(f"Forgot {address}." if address and file.forget(address) else "There was no login to forget.")


def whoami(org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Say who you are to the platform, and which organizations you belong to."""
    with connect(url, org) as client:
        user = client.users.me()
        organizations = client.users.organizations()
        if as_json:
            print_json(
                {
                    "url": client.url,
                    "user": user.preferred_username,
                    "email": user.email,
                    "roles": user.roles,
                    "organizations": organizations,
                }
            )
            return
        shown = ", ".join(
            f"{item.get('slug')} ({item['role']})" if item.get("role") else str(item.get("slug"))
            for item in organizations
        )
        print_pairs(
            (
                ("user", user.preferred_username),
                ("e-mail", user.email or ""),
                ("platform", client.url),
                ("organizations", shown),
                ("acting in", client.transport.organization or "the platform's choice (--org SLUG names another)"),
                ("roles", ", ".join(user.roles)),
            )
        )


def _grant(provider: Provider, client_id: str, *, use_device: bool) -> Grant:
    if provider.device_authorization_endpoint and (use_device or not provider.authorization_endpoint):
        pkce = new_pkce()
        code = start_device(provider, client_id, pkce)
        hint(
            f"Open {code.verification_uri_complete or code.verification_uri} on any device and enter the code "
            f"{code.user_code}"
        )
        return with_device(provider, client_id, code, pkce)
    if not provider.authorization_endpoint or use_device:
        flow = "the device flow" if use_device else "login through the browser"
        raise LoginError(
            "no_flow",
            f"{provider.issuer} does not offer {flow}. Use: mecapy login --data DIR, or --url URL --token TOKEN",
        )
    return login_with_browser(provider, client_id, _open_browser)


def _open_browser(address: str) -> None:
    hint(f"Log in in the browser. If none opens, open this address yourself, or use --device:\n{address}")
    webbrowser.open(address)


def _keep(credentials: Credentials, source: TokenSource) -> None:
    """Store what the platform accepts, and nothing that it refuses."""
    with Client(credentials.url, source, organization=credentials.organization) as client:
        name: Any = client.users.me().preferred_username
    file = CredentialsFile.default(os.environ)
    file.store(credentials, is_current=True)
    say(f"Logged in to {credentials.url} as {name}. Kept in {file.path}")
