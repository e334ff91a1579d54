"""Credentials in an archive are found; hashes, test data and placeholders are not. None of these is real."""

import base64
import hashlib
from pathlib import Path

import pytest

from mecapy_platform.core.checks.secrets import scan_secrets

LETTERS = "q7Zt3LmX9vB2kR8sW4nYc6HdPf5GjTa1Ue0KoIxD"  # as a generator makes them
BASE64 = base64.b64encode(hashlib.sha512(b"seed").digest()).decode()
REAL = {
    "aws_key": "key = 'AKIA" + "Q7ZT3LMX9VB2KR8S'",
    "aws_secret": f"aws_secret_access_key = {LETTERS}",
    "github_token": f"token: ghp_{LETTERS[:36]}",
    "gitlab_token": f"GITLAB=glpat-{LETTERS[:20]}",
    "slack_token": "xoxb-123456789012-" + LETTERS[:24],
    "google_key": "AIza" + LETTERS[:35],
    "stripe_key": "sk_live_" + LETTERS[:24],
    "pypi_token": "pypi-AgE" + LETTERS + LETTERS[:20],
    "npm_token": "npm_" + LETTERS[:36],
    "api_key": "sk-" + LETTERS,
    "azure_key": f"AccountKey={BASE64[:86]}==",
    "jwt": f"eyJ{LETTERS[:20]}.eyJ{LETTERS[:30]}.{LETTERS[:30]}",
    "url_password": "postgresql://ada:q7Zt3LmX9vB2@db.corp.example:5432/x",
    "assigned_secret": f"db_password = '{LETTERS[:16]}'",
    "private_key": "-----BEGIN RSA PRIVATE KEY-----\n" + BASE64[:64] + "\n" + BASE64[:64],
}
HARMLESS = {
    "sha256": hashlib.sha256(b"x").hexdigest(),
    "lock": "numpy==2.1.0 --hash=sha256:" + hashlib.sha256(b"y").hexdigest(),
    "git_commit": hashlib.sha1(b"z").hexdigest(),
    "uuid": "0190f000-0000-7000-8000-000000000001",
    "placeholder": "password = 'changeme-please'",
    "from_environment": "password = os.environ['DB_PASSWORD']",
    "placeholder_url": "postgresql://user:password@localhost.example/db",
    "template_url": "https://{user}:{password}@host.example/x",
    "documented_key": "AKIAIOSFODNN7EXAMPLE",
    "pem_header_alone": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "certificate": "-----BEGIN CERTIFICATE-----\n" + BASE64[:64],
    "public_key": "ssh-rsa " + BASE64 + " ada@host",
    "material_table": "steel_key = 'S355J2+N EN10025-2'",
    "token_of_a_parser": "token = 'IDENTIFIER'",
    "mesh": "\n".join(f"{number} {number / 7:.12e} {number / 3:.12e}" for number in range(200)),
    "base64_image": "data:image/png;base64," + BASE64 * 20,
    "short": "secret = 'abc'",
}


@pytest.mark.parametrize("rule", REAL)
def test_a_credential_is_found_by_its_rule_and_not_shown(rule: str) -> None:
    found = list(scan_secrets("config.txt", REAL[rule].encode()))
    assert rule in {item.rule for item in found}
    assert not any(LETTERS[:16] in item.why or BASE64[:30] in item.why for item in found)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_like_one_is_left_alone(name: str) -> None:
    assert list(scan_secrets("data.txt", HARMLESS[name].encode())) == []


@pytest.mark.parametrize("name", [".netrc", "id_rsa", "deploy/.env", "store.p12", ".pypirc"])
def test_a_file_of_credentials_is_found_by_its_name(name: str) -> None:
    assert [scan_secret.rule for scan_secret in scan_secrets(name, b"something")] == ["secret_file"]


@pytest.mark.parametrize("name", ["netrc.py", "environment.env.md", "id_rsa.pub.txt", "keys.json"])
def test_a_name_that_only_resembles_one_is_left_alone(name: str) -> None:
    assert list(scan_secrets(name, b"something")) == []


def test_a_credential_in_utf_16_is_found() -> None:
    assert [scan_secret.rule for scan_secret in scan_secrets("a.txt", REAL["github_token"].encode("utf-16"))] == [
        "github_token"
    ]


def test_a_binary_file_is_no_text() -> None:
    assert list(scan_secrets("a.npy", b"\x93NUMPY\0" + REAL["github_token"].encode())) == []


def test_the_examples_and_this_repositorys_code_hold_none() -> None:
    root = Path(__file__).parents[2]
    paths = [
        path
        for folder in ("examples", "src")
        for path in (root / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert len(paths) > 200
    assert [
        scan_secret for path in paths for scan_secret in scan_secrets(str(path.relative_to(root)), path.read_bytes())
    ] == []


def test_a_long_line_costs_no_time_that_grows_with_its_square() -> None:
    assert list(scan_secrets("a.txt", b"aws_secret" * 100_000)) == []
