"""The one way out to hosts that somebody else named: it connects to the address that it judged, and to no other."""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mecapy_platform.core.addresses import Address, AddressPolicy, literal_address
from mecapy_platform.core.errors import InvalidInputError

Resolve = Callable[[str, int], Sequence[str]]


def resolve_host(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True)
class Connector:
    """`trusted`: what certificates are checked against. `resolve`: names to addresses."""

    policy: AddressPolicy = field(default_factory=AddressPolicy)
    trusted: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    resolve: Resolve = resolve_host

    def addresses(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of a host, all of which may be connected to.

        Raises
        ------
        InvalidInputError
            One of them is not public and not allowed, or there are none.
        """
        literal = literal_address(host)
        try:
            found = [literal] if literal is not None else [_plain(text) for text in self.resolve(host, port)]
        except (OSError, ValueError) as error:
            raise InvalidInputError("address_unknown", f"The host {host[:200]} has no address: {error}.") from error
        if not found:
            raise InvalidInputError("address_unknown", f"The host {host[:200]} has no address.")
        for address in found:
            if not self.policy.permits(address):
                raise InvalidInputError(
                    "address_not_allowed", f"The host {host[:200]} is at {address}, which is not a public address."
                )
        return found

    def connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """A connection to the first of them that answers."""
        failure: OSError | None = None
        for address in self.addresses(host, port):
            try:
                return socket.create_connection((str(address), port), timeout=seconds)
            except OSError as error:
                failure = error
        raise failure or OSError("no address")

    def https(self, host: str, port: int, seconds: float) -> http.client.HTTPSConnection:
        """HTTP over TLS, whose certificate must be the named host's."""
        return _JudgedConnection(self, host, port, seconds)


class _JudgedConnection(http.client.HTTPSConnection):
    def __init__(self, connector: Connector, host: str, port: int, seconds: float) -> None:
        super().__init__(host, port, timeout=seconds, context=connector.trusted)
        self._connector = connector
        self._seconds = seconds

    def connect(self) -> None:
        plain = self._connector.connect(self.host, self.port, self._seconds)
        try:
            self.sock = self._connector.trusted.wrap_socket(plain, server_hostname=self.host)
        except OSError:
            plain.close()
            raise


def _plain(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])
