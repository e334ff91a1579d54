"""Which addresses of the network are public, in every form in which one can be written, and who may be connected to."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
NEVER_PUBLIC: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4",
        "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10",
    )
)  # fmt: skip


@dataclass(frozen=True)
class AddressPolicy:
    """Public addresses, and the networks that an operator names besides."""

    allowed: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Sequence[str]) -> "AddressPolicy":
        """Raises ValueError for what is no network."""
        return cls(tuple(ipaddress.ip_network(text) for text in networks))

    def permits(self, address: Address) -> bool:
        inner = _embedded(address)
        return is_public(address) or any(
            item in network for network in self.allowed for item in (address, inner) if item.version == network.version
        )


def is_public(address: Address) -> bool:
    """Whether it is a public host's, also where one address is written inside another."""
    inner = _embedded(address)
    if inner != address:
        return is_public(inner)
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in NEVER_PUBLIC if network.version == address.version)
    )


def literal_address(host: str) -> Address | None:
    """The address that a host is, in any form that a resolver takes for one: `127.1`, `0x7f000001`, `017700000001`.

    None for a name.
    """
    plain = host.strip("[]").partition("%")[0].rstrip(".")
    try:
        return ipaddress.ip_address(plain)
    except ValueError:
        pass
    parts = plain.split(".")
    if not 1 <= len(parts) <= 4 or not all(NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = [_number(part) for part in parts]
    *leading, last = numbers
    if any(number is None or number > 255 for number in leading) or last is None or last >= 256 ** (5 - len(parts)):
        return None
    value = sum((number or 0) << 8 * (3 - place) for place, number in enumerate(leading)) + last
    return ipaddress.IPv4Address(value)


def _number(text: str) -> int | None:
    """As inet_aton reads it: 0x.. is hexadecimal, 0.. octal."""
    if text[:2] in {"0x", "0X"}:
        return int(text[2:] or "0", 16)
    try:
        return int(text, 8 if text.startswith("0") and len(text) > 1 else 10)
    except ValueError:
        return None


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
