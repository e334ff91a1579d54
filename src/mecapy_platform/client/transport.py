"""HTTP with one platform: authorisation, retries, errors as exceptions. Knows no nouns."""

import ipaddress
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, BinaryIO

import httpx2

from mecapy_platform.client.errors import from_response, not_the_api
from mecapy_platform.client.retry import RETRIED_STATUS, RetryPolicy
from mecapy_platform.client.tokens import TokenSource
from mecapy_platform.core.errors import ConfigurationError, MecapyError, UnavailableError

USER_AGENT = f"mecapy/{version('mecapy-platform')} ({platform.system()}; Python {platform.python_version()})"
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0


@dataclass(frozen=True)
class Call:
    """One request. A `repeatable` one may reach the platform twice without a second effect."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    fields: Mapping[str, str] | None = None
    files: Mapping[str, tuple[str, BinaryIO, str]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    read_seconds: float = READ_SECONDS


class Transport:
    """Sends calls to one platform. The token goes to that platform's origin and nowhere else."""

    def __init__(
        self,
        url: str,
        token_source: TokenSource,
        *,
        organization: str | None = None,
        retry: RetryPolicy | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = checked_url(url)
        self.organization = organization
        self._tokens = token_source
        self._retry = retry or RetryPolicy()
        self._pause = pause
        self._clients: dict[str, httpx2.Client] = {}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def json(self, call: Call) -> dict[str, Any]:
        """Send, and give the JSON object of the answer."""
        response = self._send(call, stream=False)
        try:
            body = response.json()
        except ValueError as error:
            raise not_the_api(self.url) from error
        if not isinstance(body, dict):
            raise not_the_api(self.url)
        return body

    def get(self, path: str, *, wait_seconds: float = 0.0, **params: Any) -> dict[str, Any]:
        shown = {name: value for name, value in params.items() if value is not None}
        if wait_seconds:
            shown["wait"] = wait_seconds
        return self.json(Call("GET", path, shown, read_seconds=READ_SECONDS + wait_seconds))

    def post(
        self, path: str, body: Any = None, *, idempotency_key: str | None = None, repeatable: bool = True, **params: Any
    ) -> dict[str, Any]:
        """POST with an Idempotency-Key of our own, so that repeating it after a broken connection has one effect."""
        shown = {name: value for name, value in params.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        wait_seconds = float(shown.get("wait", 0.0))
        call = Call(
            "POST",
            path,
            shown,
            json=body,
            headers=headers,
            repeatable=repeatable,
            read_seconds=READ_SECONDS + wait_seconds,
        )
        return self.json(call)

    def delete(self, path: str) -> None:
        self._send(Call("DELETE", path), stream=False)

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """Open a download; relative addresses are the platform's. The caller reads the body."""
        response = self._send(Call("GET", url, headers=headers), stream=True)
        try:
            yield response
        finally:
            response.close()

    def chunks(self, response: httpx2.Response, size_bytes: int) -> Iterator[bytes]:
        """The body piece by piece; a connection that breaks is an UnavailableError."""
        try:
            yield from response.iter_bytes(size_bytes)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    def _send(self, call: Call, *, stream: bool) -> httpx2.Response:
        has_renewed = False
        attempt = 0
        while True:
            attempt += 1
            is_last = attempt >= self._retry.attempts
            try:
                response = self._sent(call, stream=stream)
            except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
                raise _bad_url(self.url) from error
            except httpx2.TransportError as error:
                never_sent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
                if is_last or not (call.repeatable or never_sent):
                    raise self._unreachable(error) from error
                self._pause(self._retry.delay_seconds(attempt))
                continue
            if response.status_code == 401 and not has_renewed and self._tokens.renew():
                has_renewed = True
                response.close()
                continue
            if response.status_code in RETRIED_STATUS and call.repeatable and not is_last:
                response.close()
                self._pause(self._retry.delay_seconds(attempt, response.headers.get("Retry-After")))
                continue
            return self._checked(response)

    def _sent(self, call: Call, *, stream: bool) -> httpx2.Response:
        target = self._target(call)
        client = self._client(target.scheme)
        return client.send(self._request(client, target, call), stream=stream)

    def _target(self, call: Call) -> httpx2.URL:
        if call.path.startswith(("http://", "https://")):
            return httpx2.URL(call.path)
        return httpx2.URL(self.url + call.path)

    def _client(self, scheme: str) -> httpx2.Client:
        """One connection pool a scheme.

        Reading the certificates costs a quarter of a second, which plain http does not need.
        """
        if scheme not in self._clients:
            self._clients[scheme] = httpx2.Client(
                headers={"User-Agent": USER_AGENT},
                trust_env=not is_loopback(self.url),
                follow_redirects=False,
                verify=scheme != "http",
            )
        return self._clients[scheme]

    def _request(self, client: httpx2.Client, target: httpx2.URL, call: Call) -> httpx2.Request:
        for _, stream, _ in (call.files or {}).values():
            stream.seek(0)
        headers = dict(call.headers)
        if _origin(target) == _origin(httpx2.URL(self.url)) and not target.path.startswith("/storage/"):
            token = self._tokens.token()
            if token:
                headers["Authorization"] = f"Bearer {token}"
            if self.organization:
                headers["MecaPy-Organization"] = self.organization
        timeout = httpx2.Timeout(
            connect=CONNECT_SECONDS, read=call.read_seconds, write=READ_SECONDS, pool=CONNECT_SECONDS
        )
        params = call.params or None  # an empty mapping would drop the signature of a signed address
        return client.build_request(
            call.method,
            target,
            params=params,
            json=call.json,
            data=call.fields,
            files=call.files,
            headers=headers,
            timeout=timeout,
        )

    def _checked(self, response: httpx2.Response) -> httpx2.Response:
        if response.status_code < 300:
            return response
        if response.status_code < 400:
            response.close()
            raise not_the_api(self.url)
        try:
            response.read()
            raise from_response(response)
        finally:
            response.close()

    def _unreachable(self, error: httpx2.TransportError) -> MecapyError:
        cause = str(error) or type(error).__name__
        if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
            return UnavailableError(
                "platform_silent", f"The platform at {self.url} did not answer in time. Try again in a moment."
            )
        return UnavailableError(
            "platform_unreachable",
            f"Cannot reach the platform at {self.url} ({cause}). Is it running (mecapy up), is the address right "
            f"(--url)?",
        )


def checked_url(url: str) -> str:
    """The address without its last slash; raises ConfigurationError when it is none."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise _bad_url(url) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo:
        raise _bad_url(url)
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    host = httpx2.URL(url).host
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return (url.scheme, url.host, url.port)


def _bad_url(url: str) -> ConfigurationError:
    return ConfigurationError(
        "invalid_url", f"'{url}' is not the address of a platform. It looks like https://mecapy.example.com"
    )
