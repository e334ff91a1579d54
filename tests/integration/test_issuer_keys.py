"""Keys of an issuer: fetched rarely, kept when the issuer is away, never trusted when unknown."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mecapy_platform.api.auth import ExpiringCache, IssuerKeys
from mecapy_platform.core.errors import UnauthenticatedError, UnavailableError
from mecapy_platform.embedded.tokens import key_id, key_set

KEY, OTHER = (rsa.RSAPublicNumbers(65537, (1 << 2047) + odd).public_key() for odd in (1, 3))  # nothing is signed here


class Issuer:
    """Answers with its keys, or fails; counts how often it is asked."""

    def __init__(self, *keys: rsa.RSAPublicKey) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.is_away = False

    def __call__(self) -> Mapping[str, Any]:
        self.asked += 1
        if self.is_away:
            raise httpx2.ConnectError("refused")
        return {"keys": [item for key in self.keys for item in key_set(key)["keys"]]}


@pytest.fixture
def make() -> Callable[[Issuer], IssuerKeys]:
    return lambda issuer: IssuerKeys("https://issuer.test", issuer)


def test_a_known_key_is_fetched_once(make: Callable[[Issuer], IssuerKeys]) -> None:
    issuer = Issuer(KEY)
    keys = make(issuer)
    for _ in range(3):
        assert keys.key(key_id(KEY)).key_id == key_id(KEY)
    assert issuer.asked == 1


def test_made_up_key_ids_do_not_flood_the_issuer(make: Callable[[Issuer], IssuerKeys]) -> None:
    issuer = Issuer(KEY)
    keys = make(issuer)
    keys.key(key_id(KEY))
    for number in range(100):
        with pytest.raises(UnauthenticatedError):
            keys.key(f"made-up-{number}")
    assert issuer.asked == 1


def test_a_new_key_is_found_after_the_pause(make: Callable[[Issuer], IssuerKeys]) -> None:
    issuer = Issuer(KEY)
    keys = make(issuer)
    keys.key(key_id(KEY))
    issuer.keys.append(OTHER)
    keys._tried_at -= 31
    assert keys.key(key_id(OTHER)).key_id == key_id(OTHER)


def test_known_keys_stay_good_while_the_issuer_is_away(make: Callable[[Issuer], IssuerKeys]) -> None:
    issuer = Issuer(KEY)
    keys = make(issuer)
    keys.key(key_id(KEY))
    issuer.is_away = True
    keys._tried_at -= 31
    with pytest.raises(UnauthenticatedError):
        keys.key("new")
    assert keys.key(key_id(KEY)).key_id == key_id(KEY)


def test_without_any_key_the_answer_is_unavailable_not_untrusted(make: Callable[[Issuer], IssuerKeys]) -> None:
    issuer = Issuer(KEY)
    issuer.is_away = True
    keys = make(issuer)
    for _ in range(5):
        with pytest.raises(UnavailableError):
            keys.key(key_id(KEY))
    assert issuer.asked == 1


@pytest.mark.parametrize(
    "document",
    [{}, {"keys": [{"kty": "RSA"}]}, {"keys": [{"kty": "RSA", "n": "x", "e": "!", "kid": "a"}]}, {"keys": 7}],
)
def test_a_broken_key_document_is_unavailable(document: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError):
        IssuerKeys("https://issuer.test", lambda: document).key("a")


def test_the_cache_forgets_the_oldest_and_what_has_ended() -> None:
    cache: ExpiringCache[int] = ExpiringCache(2)
    for number in range(3):
        cache.put(number, number, until=4e9)
    cache.put("ended", 1, until=1)
    assert [cache.get(key) for key in (0, 1, 2, "ended")] == [None, None, 2, None]


def test_a_silent_issuer_holds_nobody_but_the_asker_who_fetches() -> None:
    may_answer, is_asked = threading.Event(), threading.Event()

    def silent() -> Mapping[str, Any]:
        is_asked.set()
        may_answer.wait(60)
        return key_set(KEY)

    keys = IssuerKeys("https://issuer.test", silent)
    fetching = threading.Thread(target=keys.key, args=(key_id(KEY),))
    fetching.start()
    is_asked.wait(60)
    with pytest.raises(UnavailableError) as caught:
        keys.key(key_id(KEY))
    assert caught.value.code == "issuer_unreachable"
    assert fetching.is_alive(), "the other one was not waited for to its end"
    may_answer.set()
    fetching.join(60)
    assert keys.key(key_id(KEY)).key_id == key_id(KEY)
