"""The public documents of the embedded issuer: discovery and keys, at the paths that Keycloak uses.

Absent with a real Keycloak.
"""

from pathlib import Path

from fastapi import APIRouter

from mecapy_platform.embedded.tokens import CERTS_PATH, REALM_PATH, discovery, key_set, load_public_key


def issuer_router(key_path: Path, public_url: str) -> APIRouter:
    """Routes below `/realms/mecapy`; `key_path` is of the public half."""
    keys = key_set(load_public_key(key_path))
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
