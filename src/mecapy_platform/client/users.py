"""Who the caller is: user, roles, organizations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from mecapy_platform.client.records import build
from mecapy_platform.client.transport import Transport


@dataclass(frozen=True)
class User:
    """The owner of the token."""

    preferred_username: str
    sub: str | None = None
    email: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    roles: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(cls, data, roles=tuple(data.get("roles") or ()))


class Users:
    """Calls about the caller."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def me(self) -> User:
        return User.from_json(self._transport.get("/auth/me"))

    def organizations(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self._transport.get("/organizations")["organizations"])
