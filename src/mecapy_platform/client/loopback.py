"""Login through the browser: listens on a loopback port for the redirect that brings the authorization code."""

import os
import secrets
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from mecapy_platform.client.errors import LoginError
from mecapy_platform.client.oidc import Grant, Provider, authorization_url, new_pkce, with_code

PORTS = range(8085, 8090)
CALLBACK = "/callback"
PAGE = "<!doctype html><title>MecaPy</title><p>{text} You can close this page and go back to the terminal.</p>"


class _Listener(HTTPServer):
    allow_reuse_address = os.name == "posix"  # elsewhere two programs would share it

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer: dict[str, str] | None = None
        self.timeout = 0.5


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path != CALLBACK:
            self.send_error(404)
            return
        self.server.answer = {name: values[0] for name, values in parse_qs(parts.query).items()}
        text = "Login failed." if "error" in self.server.answer else "You are logged in."
        body = PAGE.format(text=text).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the address carries the code."""


def login_with_browser(
    provider: Provider, client_id: str, show: Callable[[str], None], *, wait_seconds: float = 300.0
) -> Grant:
    """Hand the login address to `show` (which opens a browser), wait for the redirect, exchange the code."""
    pkce, state = new_pkce(), secrets.token_urlsafe(24)
    with _listen() as listener:
        redirect_uri = f"http://localhost:{listener.server_port}{CALLBACK}"
        show(authorization_url(provider, client_id, redirect_uri, state, pkce))
        answer = _await(listener, state, wait_seconds)
    if "error" in answer:
        raise LoginError(
            "login_refused", f"The login service refused: {answer.get('error_description') or answer['error']}."
        )
    return with_code(provider, client_id, answer.get("code", ""), redirect_uri, pkce)


def _await(listener: _Listener, state: str, wait_seconds: float) -> dict[str, str]:
    """The first redirect that carries our state; others (another page's, an attacker's) are passed over."""
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline:
        listener.handle_request()
        answer, listener.answer = listener.answer, None
        if answer is not None and secrets.compare_digest(answer.get("state", ""), state):
            return answer
    raise LoginError(
        "login_expired", f"No login within {wait_seconds:.0f} s. Start again, or use: mecapy login --device"
    )


def _listen() -> _Listener:
    for port in PORTS:
        try:
            return _Listener(port)
        except OSError:
            continue
    raise LoginError(
        "no_free_port", f"Ports {PORTS[0]}-{PORTS[-1]} are all in use. Free one, or use: mecapy login --device"
    )
