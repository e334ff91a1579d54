"""URLs that read one object without a token until they expire: signed with HMAC-SHA256, compared in constant time."""

import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from mecapy_platform.core.errors import ConfigurationError, ForbiddenError

REFUSED = "This address has expired or was changed; ask for a new one."


@dataclass(frozen=True)
class UrlSigner:
    """Makes and checks addresses below `<base_url>/storage/`."""

    base_url: str
    secret: str

    def sign(self, key: str, *, filename: str, expires_seconds: int) -> str:
        if not self.secret:
            raise ConfigurationError(
                "signing_secret_missing", "Set MECAPY_SIGNING_SECRET; without it no address of a file can be signed."
            )
        expires = int(time.time()) + expires_seconds
        query = urlencode(
            {"expires": expires, "filename": filename, "signature": self._signature(key, filename, expires)}
        )
        return f"{self.base_url.rstrip('/')}/storage/{quote(key, safe='/')}?{query}"

    def check(self, key: str, *, filename: str, expires: int, signature: str) -> None:
        """Raise ForbiddenError for a signature that was not made here, or is over."""
        wanted = self._signature(key, filename, expires)
        is_right = hmac.compare_digest(wanted.encode(), signature.encode(errors="replace"))
        if not self.secret or not is_right or expires < time.time():
            raise ForbiddenError("signature_refused", REFUSED)

    def _signature(self, key: str, filename: str, expires: int) -> str:
        text = "\n".join((key, filename.encode(errors="replace").hex(), str(expires)))
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
