"""Logging in at an issuer: browser with PKCE, device code, service account.

Against a real HTTP server in the issuer's place.
"""

import base64
import hashlib
import http.client
import threading
from collections.abc import Iterator
from functools import partial
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from mecapy_platform.client.client import Client
from mecapy_platform.client.errors import LoginError
from mecapy_platform.client.issuer import find_issuer
from mecapy_platform.client.loopback import PORTS, login_with_browser
from mecapy_platform.client.oidc import Provider, discover, new_pkce, start_device, with_device
from mecapy_platform.client.tokens import ClientCredentials
from mecapy_platform.core.errors import UnavailableError
from support.platform.fake_platform import TOKEN, FakePlatform, Seen, serve

GRANTED = {"access_token": TOKEN, "refresh_token": "r", "expires_in": 60}


@pytest.fixture
def issuer() -> Iterator[FakePlatform]:
    with serve() as fake:
        base = f"{fake.url}/realms/mecapy"
        document = {
            "issuer": base,
            "token_endpoint": f"{base}/token",
            "authorization_endpoint": f"{base}/auth",
            "device_authorization_endpoint": f"{base}/device",
        }
        fake.on("GET /realms/mecapy/.well-known/openid-configuration", (200, document))
        yield fake


@pytest.fixture
def provider(issuer: FakePlatform) -> Provider:
    return discover(f"{issuer.url}/realms/mecapy/")


def form(seen: Seen) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}


def call_back(redirect_uri: str, **query: str) -> None:
    """What the browser does when the issuer sends it back."""
    parts = urlsplit(redirect_uri)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=10)
    connection.request("GET", f"{parts.path}?{urlencode(query)}")
    connection.getresponse().read()
    connection.close()


def in_browser(address: str, *, error: str = "", stranger: bool = False) -> threading.Thread:
    query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}

    def act() -> None:
        if stranger:
            call_back(query["redirect_uri"], code="planted", state="of somebody else")
        answer = {"error": error} if error else {"code": "the-code"}
        call_back(query["redirect_uri"], state=query["state"], **answer)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def _open_in_browser(threads: list[threading.Thread], address: str) -> None:
    threads.append(in_browser(address))


@pytest.mark.parametrize("stranger", [False, True])
def test_the_browser_brings_a_code_that_only_we_can_exchange(
    issuer: FakePlatform, provider: Provider, stranger: bool
) -> None:
    issuer.on("POST /realms/mecapy/token", (200, GRANTED))
    shown: list[str] = []
    threads: list[threading.Thread] = []

    def show(address: str) -> None:
        shown.append(address)
        threads.append(in_browser(address, stranger=stranger))

    grant = login_with_browser(provider, "public", show, wait_seconds=20)
    threads[0].join()
    asked = {name: values[0] for name, values in parse_qs(urlsplit(shown[0]).query).items()}
    sent = form(issuer.calls("POST /realms/mecapy/token")[0])
    digest = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=").decode()
    assert grant.access_token == TOKEN
    assert sent["code"] == "the-code"
    assert sent["redirect_uri"] == asked["redirect_uri"]
    assert urlsplit(asked["redirect_uri"]).port in PORTS
    assert (asked["code_challenge"], asked["code_challenge_method"]) == (digest, "S256")


def test_a_login_that_is_refused_says_so(provider: Provider) -> None:
    threads: list[threading.Thread] = []
    with pytest.raises(LoginError, match="access_denied"):
        login_with_browser(
            provider,
            "public",
            lambda address: threads.append(in_browser(address, error="access_denied")),
            wait_seconds=20,
        )
    threads[0].join()


def test_logins_that_follow_each_other_closely_find_a_free_port(issuer: FakePlatform, provider: Provider) -> None:
    issuer.on("POST /realms/mecapy/token", (200, GRANTED))
    for _ in range(2 * len(PORTS)):
        threads: list[threading.Thread] = []
        show = partial(_open_in_browser, threads)
        grant = login_with_browser(provider, "public", show, wait_seconds=20)
        threads[0].join()
        assert grant.access_token


def test_nobody_logging_in_ends_with_advice(provider: Provider) -> None:
    with pytest.raises(LoginError, match="--device"):
        login_with_browser(provider, "public", lambda _: None, wait_seconds=0.1)


def test_the_device_flow_goes_at_the_pace_of_the_issuer(issuer: FakePlatform, provider: Provider) -> None:
    code = {
        "device_code": "d",
        "user_code": "ABCD-EFGH",
        "verification_uri": "http://issuer/device",
        "interval": 1,
        "expires_in": 60,
    }
    answers = iter([(400, {"error": "authorization_pending"}), (400, {"error": "slow_down"}), (200, GRANTED)])
    issuer.on("POST /realms/mecapy/device", (200, code))
    issuer.on("POST /realms/mecapy/token", lambda _: next(answers))
    pauses: list[float] = []
    pkce = new_pkce()
    device = start_device(provider, "public", pkce)
    grant = with_device(provider, "public", device, pkce, pause=pauses.append)
    assert device.user_code == "ABCD-EFGH"
    assert grant.refresh_token == "r"
    assert pauses == [1, 6]
    assert form(issuer.calls("POST /realms/mecapy/token")[0])["code_verifier"] == pkce.verifier


def test_a_device_code_that_is_denied_says_so(issuer: FakePlatform, provider: Provider) -> None:
    code = {"device_code": "d", "user_code": "A", "verification_uri": "http://issuer/device"}
    issuer.on("POST /realms/mecapy/device", (200, code))
    issuer.on("POST /realms/mecapy/token", (400, {"error": "access_denied", "error_description": "The user said no"}))
    pkce = new_pkce()
    with pytest.raises(LoginError, match="said no"):
        with_device(provider, "public", start_device(provider, "public", pkce), pkce)


def test_a_service_account_gets_its_token_and_renews_it_once_when_refused(issuer: FakePlatform) -> None:
    tokens = iter(["stale", TOKEN])
    issuer.on("POST /realms/mecapy/token", lambda _: (200, {"access_token": next(tokens), "expires_in": 300}))
    with Client(issuer.url, ClientCredentials(f"{issuer.url}/realms/mecapy", "robot", "secret")) as client:
        assert client.users.me().preferred_username == "ada"
    assert [form(seen)["grant_type"] for seen in issuer.calls("POST /realms/mecapy/token")] == [
        "client_credentials"
    ] * 2


def test_an_issuer_must_speak_for_itself(issuer: FakePlatform) -> None:
    issuer.on(
        "GET /realms/mecapy/.well-known/openid-configuration",
        (200, {"issuer": "http://evil", "token_endpoint": "http://evil/t"}),
    )
    with pytest.raises(LoginError, match="does not describe itself"):
        discover(f"{issuer.url}/realms/mecapy")


def test_an_issuer_that_is_away_is_said_to_be_so() -> None:
    with pytest.raises(UnavailableError, match="login service"):
        discover("http://127.0.0.1:9/realms/mecapy")


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/.well-known/oauth-protected-resource", {"authorization_servers": ["https://sso.example.com/realms/mecapy"]}),
        ("/.well-known/openid-configuration", {"issuer": "https://sso.example.com/realms/mecapy"}),
    ],
)
def test_the_platform_names_its_issuer(issuer: FakePlatform, path: str, document: dict[str, object]) -> None:
    issuer.on(f"GET {path}", (200, document))
    assert find_issuer(issuer.url) == "https://sso.example.com/realms/mecapy"


def test_a_platform_that_names_none_gets_advice(issuer: FakePlatform) -> None:
    with pytest.raises(LoginError, match="--issuer"):
        find_issuer(issuer.url)
