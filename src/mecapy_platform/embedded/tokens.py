"""The embedded issuer: tokens of Keycloak's shape, signed RS256, and the documents by which an API verifies them."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mecapy_platform.core.errors import ConfigurationError

AUDIENCE = "mecapy-api"
CLIENT = "mecapy-api-public"
REALM_PATH = "/realms/mecapy"
CERTS_PATH = "/protocol/openid-connect/certs"
DEFAULT_ROLES = ("default-roles-mecapy", "offline_access", "uma_authorization")
TOKEN_SECONDS = 30 * 24 * 3600
Key = TypeVar("Key")


@dataclass(frozen=True)
class Person:
    """Whom a token is for: the same name always gets the same `sub`."""

    name: str
    organizations: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    @property
    def subject(self) -> UUID:
        return uuid5(NAMESPACE_URL, f"urn:mecapy:user:{self.name}")


def load_key(path: Path) -> rsa.RSAPrivateKey:
    return _load(path, "key", _read_private)


def load_public_key(path: Path) -> rsa.RSAPublicKey:
    return _load(path, "public key", _read_public)


def _load(path: Path, what: str, read: Callable[[bytes], Key | None]) -> Key:
    """`read` gives None for a key of another kind than RSA."""
    try:
        key = read(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            "issuer_key", f"The {what} of the embedded issuer, {path}, cannot be read: {error}."
        ) from error
    if key is None:
        raise ConfigurationError("issuer_key", f"The {what} of the embedded issuer, {path}, is not an RSA key.")
    return key


def _read_private(text: bytes) -> rsa.RSAPrivateKey | None:
    key = serialization.load_pem_private_key(text, password=None)
    return key if isinstance(key, rsa.RSAPrivateKey) else None


def _read_public(text: bytes) -> rsa.RSAPublicKey | None:
    key = serialization.load_pem_public_key(text)
    return key if isinstance(key, rsa.RSAPublicKey) else None


def issue(key: rsa.RSAPrivateKey, issuer: str, person: Person, seconds: int = TOKEN_SECONDS) -> str:
    """A bearer token with Keycloak's claims."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": issuer,
        "sub": str(person.subject),
        "aud": AUDIENCE,
        "azp": CLIENT,
        "typ": "Bearer",
        "iat": now,
        "exp": now + seconds,
        "jti": str(uuid4()),
        "scope": "openid profile email organization",
        "preferred_username": person.name,
        "given_name": person.name,
        "family_name": "",
        "name": person.name,
        "email": f"{person.name}@localhost.localdomain",
        "email_verified": True,
        "realm_access": {"roles": [*DEFAULT_ROLES, *person.roles]},
        "organization": list(person.organizations),
    }
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": key_id(key.public_key())})


def key_set(key: rsa.RSAPublicKey) -> dict[str, list[dict[str, str]]]:
    """The JWKS document."""
    return {"keys": [{**_thumbprint_members(key), "use": "sig", "alg": "RS256", "kid": key_id(key)}]}


def discovery(issuer: str) -> dict[str, object]:
    """The OpenID discovery document, as far as this issuer goes: it verifies tokens, `mecapy token` makes them."""
    return {
        "issuer": issuer,
        "jwks_uri": issuer + CERTS_PATH,
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["none"],
        "subject_types_supported": ["public"],
        "claims_supported": [
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "azp",
            "preferred_username",
            "email",
            "given_name",
            "realm_access",
            "organization",
        ],
    }


def key_id(key: rsa.RSAPublicKey) -> str:
    """RFC 7638: the thumbprint of the key."""
    text = json.dumps(_thumbprint_members(key), sort_keys=True, separators=(",", ":"))
    return _base64(hashlib.sha256(text.encode()).digest())


def _thumbprint_members(key: rsa.RSAPublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "RSA",
        "n": _base64(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
        "e": _base64(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
    }


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
