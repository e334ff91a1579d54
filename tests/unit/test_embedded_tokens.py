import os
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer import Typer
from typer.testing import CliRunner

from mecapy_platform.api.issuer import issuer_router
from mecapy_platform.cli.token import token
from mecapy_platform.core.errors import ConfigurationError, ConflictError
from mecapy_platform.embedded import content, secrets, uids
from mecapy_platform.embedded.layout import Layout
from mecapy_platform.embedded.lock import DataLock, holder
from mecapy_platform.embedded.tokens import AUDIENCE, Person, issue, key_set, load_key, load_public_key

URL = "http://127.0.0.1:8123"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    made.make(uids.ordinary())
    secrets.store(made, secrets.Secrets({}, "v", "s", None, URL))
    secrets.ensure_issuer_key(made)
    return made


def test_the_issuers_documents_verify_its_tokens(layout: Layout) -> None:
    app = FastAPI()
    app.include_router(issuer_router(layout.issuer_public_key, URL))
    client = TestClient(app)
    document = client.get("/realms/mecapy/.well-known/openid-configuration").json()
    keys = jwt.PyJWKSet.from_dict(client.get(document["jwks_uri"].removeprefix(URL)).json())
    text = content.token(layout, Person("ada", ("bridges",), ("admin",)))
    kid = jwt.get_unverified_header(text)["kid"]
    claims = jwt.decode(text, keys[kid].key, algorithms=["RS256"], audience=AUDIENCE, issuer=document["issuer"])
    assert claims["preferred_username"] == "ada"
    assert claims["organization"] == ["bridges"]
    assert "admin" in claims["realm_access"]["roles"]
    assert claims["azp"] == "mecapy-api-public"
    assert claims["typ"] == "Bearer"


def test_the_key_document_holds_no_private_member(layout: Layout) -> None:
    assert set(key_set(load_public_key(layout.issuer_public_key))["keys"][0]) == {"kty", "n", "e", "use", "alg", "kid"}


@pytest.mark.parametrize(("load", "what"), [(load_key, "key"), (load_public_key, "public key")])
@pytest.mark.parametrize("content", [None, b"no PEM"])
def test_a_key_that_cannot_be_read_is_named(
    tmp_path: Path, load: Callable[[Path], object], what: str, content: bytes | None
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"The {what} of the embedded issuer, {path}, cannot be read") as error:
        load(path)
    assert error.value.code == "issuer_key"


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    private, public = tmp_path / "private", tmp_path / "public"
    key = ed25519.Ed25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ConfigurationError, match=r"The key of the embedded issuer, .* is not an RSA key"):
        load_key(private)
    with pytest.raises(ConfigurationError, match=r"The public key of the embedded issuer, .* is not an RSA key"):
        load_public_key(public)


def test_a_user_keeps_the_same_subject() -> None:
    key = rsa.generate_private_key(65537, 2048)
    subjects = {
        jwt.decode(issue(key, "i", Person(name)), options={"verify_signature": False})["sub"]
        for name in ("ada", "ada", "bob")
    }
    assert len(subjects) == 2


def test_a_directory_without_platform_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="mecapy up --data"):
        content.token(Layout(tmp_path), Person("ada"))


@pytest.mark.parametrize(
    ("user", "organization"), [("ada lovelace", "bridges"), ("ada", "Bridges!"), ("", "bridges"), ("ada", "-x")]
)
def test_names_that_cannot_be_are_refused(layout: Layout, user: str, organization: str) -> None:
    app = Typer()
    app.command()(token)
    result = CliRunner().invoke(app, ["--data", str(layout.root), "--user", user, "--organization", organization])
    assert result.exit_code == 1
    assert "use letters" in result.output


def test_the_lock_names_its_holder_and_is_free_after(tmp_path: Path) -> None:
    lock = DataLock.take(tmp_path / "lock")
    lock.note(URL)
    with pytest.raises(ConflictError, match=f"held by pid {os.getpid()}, at {URL}"):
        DataLock.take(tmp_path / "lock")
    lock.release()
    assert holder(tmp_path / "lock") is None


def test_damaged_secrets_are_said_not_replaced(layout: Layout) -> None:
    (layout.secrets / "instance.json").write_text("{")
    with pytest.raises(ConfigurationError, match="Restore it from a backup"):
        secrets.read(layout)
