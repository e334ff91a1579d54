"""The public documents of the embedded issuer: discovery and keys, at the paths that Keycloak uses.

Absent with a real Keycloak.
"""

from pathlib import Path

from fastapi import APIRouter

from mecapy_platform.embedded.tokens import CERTS_PATH, REALM_PATH, discovery, key_set, load_key


def issuer_router(key_path: Path, public_url: str) -> APIRouter:
    """Routes below `/realms/mecapy`; the private key is read once and only its public half is kept."""
    keys = key_set(load_key(key_path).public_key())
    document = discovery(public_url + REALM_PATH)
    router = APIRouter(prefix=REALM_PATH, tags=["identity"])

    @router.get("/.well-known/openid-configuration", operation_id="issuer_discovery")
    def get_discovery() -> dict[str, object]:
        """Say where the keys are that verify this platform's tokens."""
        return document

    @router.get(CERTS_PATH, operation_id="issuer_keys")
    def get_keys() -> dict[str, list[dict[str, str]]]:
        """List the public keys that verify this platform's tokens."""
        return keys

    return router
