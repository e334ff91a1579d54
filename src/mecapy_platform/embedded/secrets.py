"""Secrets of one data directory, generated once, each file 0600."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.embedded.layout import Layout, write_atomically
from mecapy_platform.embedded.postgres import ROLES
from mecapy_platform.embedded.tokens import load_key
from mecapy_platform.embedded.users import current


@dataclass(frozen=True)
class Secrets:
    """Passwords by role, the signing secret, and what the instance remembers.

    `uid_block` is None where an ordinary user made the directory; `url` is the address of the last start.
    """

    passwords: dict[str, str]
    valkey: str
    signing: str
    uid_block: int | None = None
    url: str = ""

    @property
    def issuer(self) -> str:
        return issuer_url(self.url)


def issuer_url(public_url: str) -> str:
    return f"{public_url}/realms/mecapy"


def read(layout: Layout) -> Secrets | None:
    """What is stored, or None before the first start."""
    path = _path(layout)
    try:
        return Secrets(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise ConfigurationError(
            "data_of_other_user",
            f"{layout.root} belongs to another user of this machine. Use that user, or another --data directory.",
        ) from error
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            "secrets_damaged", f"{path} cannot be read as this program wrote it. Restore it from a backup."
        ) from error


def generate() -> Secrets:
    return Secrets(
        {role: secrets.token_hex(24) for role in ("postgres", *ROLES)}, secrets.token_hex(24), secrets.token_hex(32)
    )


def store(layout: Layout, values: Secrets) -> None:
    write_atomically(_path(layout), json.dumps(asdict(values), indent=1))


def ensure_issuer_key(layout: Layout) -> None:
    """The RSA key that signs tokens, which whoever started us alone reads, and its public half for the API."""
    if not layout.issuer_key.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomically(layout.issuer_key, pem.decode())
    layout.issuer_key.chmod(0o600)
    current().own(layout.issuer_key)  # earlier versions gave it to the API's user
    public = load_key(layout.issuer_key).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_atomically(layout.issuer_public_key, pem.decode(), 0o644)


def _path(layout: Layout) -> Path:
    return layout.secrets / "instance.json"
