"""Finds credentials that were packed by mistake. What is found is never shown in full."""

import math
import re
from collections import Counter
from collections.abc import Iterator

from mecapy_platform.core.checks.findings import CheckName, Finding, Severity

MAX_BYTES = 1 << 20
MAX_LINE = 4_000
ADVICE = "Take it out of the archive and replace it: what was deployed once counts as known."
FILES = {
    **dict.fromkeys(
        (".netrc", "_netrc", ".pypirc", ".git-credentials", ".htpasswd", ".pgpass", "credentials.json"), Severity.HIGH
    ),
    **dict.fromkeys(("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "wallet.dat"), Severity.HIGH),
    **dict.fromkeys(
        (".env", ".env.local", ".env.production", ".envrc", ".npmrc", "secrets.yml", "secrets.yaml"), Severity.MEDIUM
    ),
}
ENDINGS = (".pfx", ".p12", ".kdbx", ".jks", ".keystore", ".ovpn")
_B, _E = "-----BEGIN ", "-----"  # in two parts, so that this file is none of its own findings

PATTERNS: tuple[tuple[str, Severity, str, re.Pattern[str]], ...] = (
    ("aws_key", Severity.HIGH, "a key of AWS", re.compile(r"\b((?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16})\b")),
    ("aws_secret", Severity.HIGH, "a secret key of AWS", re.compile(
        r"(?i)aws.{0,20}secret.{0,30}['\"\s:=]([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])")),
    ("github_token", Severity.HIGH, "a token of GitHub",
     re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b")),
    ("gitlab_token", Severity.HIGH, "a token of GitLab", re.compile(r"\b(glpat-[A-Za-z0-9_-]{20,})\b")),
    ("slack_token", Severity.HIGH, "a token of Slack", re.compile(r"\b(xox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{10,})\b")),
    ("google_key", Severity.HIGH, "a key of Google", re.compile(r"\b(AIza[0-9A-Za-z_-]{35})\b")),
    ("stripe_key", Severity.HIGH, "a key of Stripe", re.compile(r"\b((?:sk|rk)_live_[0-9A-Za-z]{20,})\b")),
    ("pypi_token", Severity.HIGH, "a token of a package index", re.compile(r"\b(pypi-AgE[A-Za-z0-9_-]{50,})")),
    ("npm_token", Severity.HIGH, "a token of npm", re.compile(r"\b(npm_[A-Za-z0-9]{36})\b")),
    ("hugging_face_token", Severity.HIGH, "a token of a model hub", re.compile(r"\b(hf_[A-Za-z]{34,})\b")),
    ("api_key", Severity.HIGH, "an API key", re.compile(r"\b(sk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,})\b")),
    ("azure_key", Severity.HIGH, "a key of Azure storage", re.compile(r"AccountKey=([A-Za-z0-9+/]{86}==)")),
    ("jwt", Severity.MEDIUM, "a signed token",
     re.compile(r"\b(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,})\b")),
    ("url_password", Severity.MEDIUM, "a password in an address", re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"<>]{1,80}:([^\s:/@'\"<>]{4,80})@[\w.-]+\.\w+")),
    (
        *("assigned_secret", Severity.MEDIUM, "a password or key in the code"),
        re.compile(r"(?i)(?<![/\w.-])[\w.-]{0,30}(?:password|passwd|secret|api_?key|access_?token|auth_?token)\b['\"]?\s*[:=]\s*['\"]([^'\"\s]{8,120})['\"]"),
    ),
)  # fmt: skip
PEM = re.compile(_B + r"(?:[A-Z0-9]+ )*PRIVATE KEY" + _E)
PLACEHOLDER = re.compile(
    r"(?i)example|sample|dummy|fake|test|change.?me|placeholder|your|my.?(?:password|secret|key)|password|passwd|pass|secret|xxx|\*\*\*|<|\$\{|\{|%\(|%s|"
    r"foo|bar|user|token|none|null|true|false|123456|abcdef"
)
MIN_ENTROPY = 3.3  # bits a letter: above words and names, below what a generator makes


def scan_secrets(path: str, data: bytes) -> Iterator[Finding]:
    """Files that are credentials by name, and credentials in texts; each rule once a line."""
    name = path.rpartition("/")[2].lower()
    severity = FILES.get(name, Severity.HIGH if name.endswith(ENDINGS) else None)
    if severity is not None and data.strip():
        yield Finding(
            CheckName.SECRETS, "secret_file", severity, path, 0, "A file of this name holds credentials.", ADVICE
        )
    text = _text(data[:MAX_BYTES])
    if text is None:
        return
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        seen = line[:MAX_LINE]
        if PEM.search(seen) and _has_key(seen, lines[number : number + 4]):
            yield Finding(
                CheckName.SECRETS, "private_key", Severity.HIGH, path, number, "It holds a private key.", ADVICE
            )
        for rule, severity, what, pattern in PATTERNS:
            match = pattern.search(seen)
            if match and _is_real(rule, match[1]):
                why = f"It holds {what} ({match[1][:4]}.., {len(match[1])} letters)."
                yield Finding(CheckName.SECRETS, rule, severity, path, number, why, ADVICE)


def _text(data: bytes) -> str | None:
    """None for binary data: arrays, images, meshes."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return data.decode("utf-16", "replace")
    if b"\0" in data[:4096]:
        return None
    return data.decode("utf-8", "replace")


def _has_key(line: str, following: list[str]) -> bool:
    """The first lines of base64 below the header, or beside it in one text."""
    body = line.partition("PRIVATE KEY" + _E)[2] + "".join(following)
    return re.search(r"[A-Za-z0-9+/=]{48}", re.sub(r"\\n|[\s\"',]", "", body)) is not None


def _is_real(rule: str, value: str) -> bool:
    if rule in {"url_password", "assigned_secret"}:
        return not PLACEHOLDER.search(value) and entropy(value) >= MIN_ENTROPY and any(item.isdigit() for item in value)
    return "EXAMPLE" not in value.upper() and len(set(value)) > 8


def entropy(text: str) -> float:
    """Bits of information a letter, by how often each occurs (Shannon)."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values()) if text else 0.0
