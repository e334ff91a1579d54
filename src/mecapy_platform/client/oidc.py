"""OpenID Connect as a public client.

Discovery, refresh, client credentials, device flow, authorization code with PKCE.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2

from mecapy_platform.client.errors import LoginError
from mecapy_platform.core.errors import UnavailableError

PUBLIC_CLIENT = "mecapy-api-public"
SCOPE = "openid profile email offline_access"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Provider:
    """What an issuer's discovery document says; None where it does not offer the flow."""

    issuer: str
    token_endpoint: str
    authorization_endpoint: str | None = None
    device_authorization_endpoint: str | None = None


@dataclass(frozen=True)
class Grant:
    """Tokens as the issuer gave them; `expires_at` in seconds since the epoch."""

    access_token: str
    refresh_token: str | None
    expires_at: float | None


@dataclass(frozen=True)
class Pkce:
    """A verifier and its S256 challenge (RFC 7636)."""

    verifier: str
    challenge: str


@dataclass(frozen=True)
class DeviceCode:
    """What a person types where (RFC 8628)."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    interval_seconds: float
    expires_in_seconds: float


def discover(issuer: str) -> Provider:
    """Read the issuer's discovery document; it must speak for that issuer."""
    address = issuer.rstrip("/")
    data = _json(_send("GET", f"{address}/.well-known/openid-configuration"))
    if str(data.get("issuer", "")).rstrip("/") != address or "token_endpoint" not in data:
        raise LoginError(
            "issuer_mismatch", f"{issuer} does not describe itself as a login service. Check the issuer's address."
        )
    return Provider(
        issuer=address,
        token_endpoint=str(data["token_endpoint"]),
        authorization_endpoint=data.get("authorization_endpoint"),
        device_authorization_endpoint=data.get("device_authorization_endpoint"),
    )


def new_pkce() -> Pkce:
    verifier = secrets.token_urlsafe(64)
    digest = hashlib.sha256(verifier.encode()).digest()
    return Pkce(verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode())


def authorization_url(provider: Provider, client_id: str, redirect_uri: str, state: str, pkce: Pkce) -> str:
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": SCOPE,
        "state": state,
        "code_challenge": pkce.challenge,
        "code_challenge_method": "S256",
    }
    start = provider.authorization_endpoint or ""
    return f"{start}{'&' if '?' in start else '?'}{urlencode(query)}"


def with_code(provider: Provider, client_id: str, code: str, redirect_uri: str, pkce: Pkce) -> Grant:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": pkce.verifier,
    }
    return _granted(_token(provider, client_id, form))


def with_refresh_token(provider: Provider, client_id: str, refresh_token: str) -> Grant:
    return _granted(_token(provider, client_id, {"grant_type": "refresh_token", "refresh_token": refresh_token}))


def with_client_credentials(provider: Provider, client_id: str, client_secret: str) -> Grant:
    return _granted(_token(provider, client_id, {"grant_type": "client_credentials", "client_secret": client_secret}))


def start_device(provider: Provider, client_id: str, pkce: Pkce) -> DeviceCode:
    form = {"client_id": client_id, "scope": SCOPE, "code_challenge": pkce.challenge, "code_challenge_method": "S256"}
    answer = _send("POST", provider.device_authorization_endpoint or "", form)
    data = _json(answer)
    if answer.status_code >= 400:
        raise _refused(data)
    return DeviceCode(
        device_code=str(data["device_code"]),
        user_code=str(data["user_code"]),
        verification_uri=str(data["verification_uri"]),
        verification_uri_complete=data.get("verification_uri_complete"),
        interval_seconds=float(data.get("interval", 5)),
        expires_in_seconds=float(data.get("expires_in", 600)),
    )


def with_device(
    provider: Provider, client_id: str, device: DeviceCode, pkce: Pkce, *, pause: Callable[[float], None] = time.sleep
) -> Grant:
    """Ask again and again, at the issuer's pace, until the person has agreed, refused or let the code expire."""
    form = {"grant_type": DEVICE_GRANT, "device_code": device.device_code, "code_verifier": pkce.verifier}
    interval = device.interval_seconds
    deadline = time.monotonic() + device.expires_in_seconds
    while time.monotonic() < deadline:
        answer = _token(provider, client_id, form)
        error = _json(answer).get("error")
        if error == "slow_down":
            interval += 5
        elif error != "authorization_pending":
            return _granted(answer)
        pause(interval)
    raise LoginError("login_expired", "Nobody entered the code in time. Start again: mecapy login")


def _token(provider: Provider, client_id: str, form: Mapping[str, str]) -> httpx2.Response:
    return _send("POST", provider.token_endpoint, {"client_id": client_id, **form})


def _granted(answer: httpx2.Response) -> Grant:
    data = _json(answer)
    if answer.status_code >= 400 or "access_token" not in data:
        raise _refused(data)
    seconds = data.get("expires_in")
    expires_at = time.time() + float(seconds) if seconds is not None else None
    return Grant(str(data["access_token"]), data.get("refresh_token"), expires_at)


def _refused(data: Mapping[str, Any]) -> LoginError:
    why = str(data.get("error_description") or data.get("error") or "no reason given")
    return LoginError("login_refused", f"The login service refused: {why}. Log in again: mecapy login")


def _send(method: str, url: str, form: Mapping[str, str] | None = None) -> httpx2.Response:
    try:
        return httpx2.request(method, url, data=form, timeout=TIMEOUT_SECONDS, verify=not url.startswith("http:"))
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise UnavailableError(
            "issuer_unreachable", f"Cannot reach the login service at {url} ({error}). Check the address."
        ) from error


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        data = answer.json()
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise LoginError(
            "not_an_issuer", f"{answer.url} is not a login service (it answered {answer.status_code} without JSON)."
        )
    return data
