"""Reads bearer tokens: RS256 only, from trusted issuers only, verified against keys that are fetched rarely."""

import hashlib
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import httpx2
import jwt
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from mecapy_platform.core.errors import UnauthenticatedError, UnavailableError
from mecapy_platform.db.session import Database
from mecapy_platform.embedded.tokens import REALM_PATH, key_set, load_public_key
from mecapy_platform.services.identity import Identity, TokenClaims, sign_in
from mecapy_platform.settings import Settings

log = logging.getLogger(__name__)
LEEWAY_SECONDS = 30
REFRESH_SECONDS = 30.0
RETRY_SECONDS = 2.0  # while there is no key at all
IDENTITY_SECONDS = 30.0
FETCH_SECONDS = 5.0
AWAIT_SECONDS = 1.0  # of a caller whose key another one is fetching
CACHED_TOKENS = 10_000
TOKEN_BYTES = 16_384
ALGORITHMS = ["RS256"]
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
Value = TypeVar("Value")
Fetch = Callable[[str], Mapping[str, Any]]


class ExpiringCache(Generic[Value]):
    """A bounded map whose entries end at their own moment; the oldest go first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[object, tuple[float, Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> Value | None:
        with self._lock:
            found = self._entries.get(key)
            if found is None or found[0] < time.time():
                self._entries.pop(key, None)
                return None
            return found[1]

    def put(self, key: object, value: Value, until: float) -> None:
        with self._lock:
            self._entries[key] = (until, value)
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def forget(self, key: object) -> None:
        with self._lock:
            self._entries.pop(key, None)


class IssuerKeys:
    """The public keys of one issuer. An unknown key id makes it look again, at most every 30 s."""

    def __init__(self, issuer: str, fetch: Callable[[], Mapping[str, Any]]) -> None:
        self.issuer = issuer
        self._fetch = fetch
        self._keys: dict[str, jwt.PyJWK] = {}
        self._tried_at = float("-inf")
        self._lock = threading.Lock()
        self._fetched: threading.Event | None = None  # set when the fetch that is on its way has ended

    def key(self, key_id: str) -> jwt.PyJWK:
        found = self._keys.get(key_id)
        if found is None:
            self._refresh()
            found = self._keys.get(key_id)
        if found is None:
            raise _untrusted("its signing key is not known")
        return found

    def _refresh(self) -> None:
        """Fetch, or wait a moment for the fetch that is on its way: no lock is held, and no thread for long."""
        with self._lock:
            fetched = self._fetched
            if fetched is None:
                if time.monotonic() - self._tried_at < (REFRESH_SECONDS if self._keys else RETRY_SECONDS):
                    if self._keys:
                        return
                    raise _silent_issuer()
                self._tried_at = time.monotonic()
                self._fetched = threading.Event()
        if fetched is not None:
            if not fetched.wait(AWAIT_SECONDS) or not self._keys:
                raise _silent_issuer()
            return
        try:
            self._keys = self._read()
        except (httpx2.HTTPError, jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
            log.warning("keys of %s cannot be read: %s", self.issuer, error)
            if not self._keys:
                raise _silent_issuer() from error
        finally:
            with self._lock:
                over, self._fetched = self._fetched, None
            if over is not None:
                over.set()

    def _read(self) -> dict[str, jwt.PyJWK]:
        documents = [item for item in self._fetch()["keys"] if item.get("kty") == "RSA"]
        keys = [jwt.PyJWK.from_dict(dict(document), algorithm="RS256") for document in documents]
        return {str(key.key_id): key for key in keys}


class Authenticator:
    """From an Authorization header to a known user. One for the process."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._audience = settings.audience
        self._issuers = {issuer: _keys_of(issuer, settings) for issuer in settings.issuers}
        self._claims: ExpiringCache[TokenClaims] = ExpiringCache(CACHED_TOKENS)
        self._identities: ExpiringCache[Identity] = ExpiringCache(CACHED_TOKENS)

    async def claims(self, headers: Headers) -> TokenClaims:
        """Verify the token. A token seen before costs a look into a map."""
        token = _bearer(headers)
        key = hashlib.sha256(token.encode()).digest()
        known = self._claims.get(key)
        if known is not None:
            return known
        claims, until = await run_in_threadpool(self.verify, token)
        self._claims.put(key, claims, until)
        return claims

    async def identity(self, claims: TokenClaims) -> Identity:
        found = self._identities.get(claims)
        if found is None:
            found = await run_in_threadpool(sign_in, self._database, claims)
            self._identities.put(claims, found, time.time() + IDENTITY_SECONDS)
        return found

    def remember(self, headers: Headers, claims: TokenClaims, identity: Identity) -> None:
        """What another process has verified a moment ago."""
        until = time.time() + IDENTITY_SECONDS
        self._claims.put(hashlib.sha256(_bearer(headers).encode()).digest(), claims, until)
        self._identities.put(claims, identity, until)

    def forget(self, claims: TokenClaims) -> None:
        """Memberships of this user have changed: read them again at once."""
        self._identities.forget(claims)

    def verify(self, token: str) -> tuple[TokenClaims, float]:
        """Raises UnauthenticatedError with the reason; returns the claims and when they end."""
        try:
            header = jwt.get_unverified_header(token)
            unverified = jwt.decode(token, options={"verify_signature": False})
            keys = self._issuers.get(str(unverified.get("iss")))
            if keys is None:
                raise _untrusted("its issuer is not trusted here")
            if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str):
                raise _untrusted("it is not signed with RS256 and a named key")
            payload = jwt.decode(
                token,
                keys.key(header["kid"]),
                algorithms=ALGORITHMS,
                issuer=keys.issuer,
                leeway=LEEWAY_SECONDS,
                options={"verify_aud": False, "require": ["exp", "iss", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise UnauthenticatedError("token_expired", "The token has expired; sign in again.") from error
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise _untrusted("it is malformed or its signature is wrong") from error
        self._check_audience(payload)
        return _claims(payload), float(payload["exp"]) + LEEWAY_SECONDS

    def _check_audience(self, payload: Mapping[str, Any]) -> None:
        audience = payload.get("aud")
        named = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        party = payload.get("azp")
        is_ours = isinstance(party, str) and (party == self._audience or party.startswith(f"{self._audience}-"))
        if self._audience not in named and not is_ours:
            raise _untrusted("it was issued for another service")


def _bearer(headers: Headers) -> str:
    value = headers.get("authorization", "")
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("token_missing", "Send a token: `Authorization: Bearer <token>`.")
    if len(token) > TOKEN_BYTES:
        raise _untrusted("it is too long")
    return token.strip()


def _untrusted(why: str) -> UnauthenticatedError:
    return UnauthenticatedError("token_untrusted", f"The token cannot be trusted: {why}.")


def _silent_issuer() -> UnavailableError:
    return UnavailableError("issuer_unreachable", "The identity provider does not answer right now; try again.")


def _claims(payload: Mapping[str, Any]) -> TokenClaims:
    access = payload.get("realm_access")
    roles = access.get("roles") if isinstance(access, dict) else None
    subject = _text(payload.get("sub"))
    if not subject:
        raise _untrusted("it names nobody")
    return TokenClaims(
        issuer=str(payload["iss"]),
        subject=subject,
        username=_text(payload.get("preferred_username")) or subject,
        email=_text(payload.get("email")) or None,
        roles=tuple(role for role in roles or () if isinstance(role, str)),
        organizations=_organizations(payload.get("organization")),
        given_name=_text(payload.get("given_name")) or None,
        family_name=_text(payload.get("family_name")) or None,
    )


def _organizations(claim: object) -> tuple[str, ...] | None:
    """Keycloak writes a list of slugs, or an object by slug. What cannot be a slug is left out."""
    if not isinstance(claim, (list, dict)):
        return None
    return tuple(sorted({slug for slug in claim if isinstance(slug, str) and SLUG.fullmatch(slug)}))


def _text(value: object) -> str:
    return value.replace("\0", "")[:255] if isinstance(value, str) else ""


def _keys_of(issuer: str, settings: Settings) -> IssuerKeys:
    if settings.embedded_issuer_key is not None and issuer == settings.public_url + REALM_PATH:
        document = key_set(load_public_key(settings.embedded_issuer_key))
        return IssuerKeys(issuer, lambda: document)
    return IssuerKeys(issuer, lambda: _fetch_keys(issuer))


def _fetch_keys(issuer: str) -> Mapping[str, Any]:
    """Discovery, then the key set it names."""
    with httpx2.Client(timeout=FETCH_SECONDS, follow_redirects=False, trust_env=False) as client:
        discovery = client.get(issuer.rstrip("/") + "/.well-known/openid-configuration").raise_for_status().json()
        if discovery["issuer"] != issuer:
            raise ValueError(f"the discovery document names another issuer: {discovery['issuer']!r}")
        keys: Mapping[str, Any] = client.get(discovery["jwks_uri"]).raise_for_status().json()
        return keys
