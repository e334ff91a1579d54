"""Texts that only an attack has: command lines that fetch and run, reverse shells, miners, places of secrets."""

import re
from collections.abc import Iterator

from mecapy_platform.core.checks.hostile.fold import HOLE

MAX_LENGTH = 20_000
_SHELL = r"(?:/(?:usr/)?bin/)?(?:ba|z|k|da|a)?sh\b"
_ANY = r"[^\n]{0,300}?"

TEXTS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("download_and_run", "a command line fetches something and runs it", re.compile(
        rf"\b(?:curl|wget|fetch|lwp-download)\b{_ANY}(?:\|\s*(?:sudo\s+)?(?:{_SHELL}|python[0-9.]*|perl|ruby)|(?:;|&&)\s*(?:chmod|{_SHELL}|\./|python))"
        rf"|{_SHELL}\s+(?:-c\s+)?[\"']?(?:<\(|\$\()\s*(?:curl|wget)"
        rf"|\b(?:Invoke-WebRequest|DownloadString|certutil\s+-urlcache|bitsadmin\s+/transfer)\b", re.IGNORECASE)),
    ("decode_and_run", "a command line decodes something and runs it", re.compile(
        rf"\bbase64\s+(?:-d|-D|--decode)\b{_ANY}\|\s*(?:{_SHELL}|python)|\bxxd\s+-r\b{_ANY}\|\s*{_SHELL}"
        rf"|powershell{_ANY}-e(?:nc|ncodedcommand)?\s", re.IGNORECASE)),
    ("reverse_shell", "it opens a shell to another machine", re.compile(
        rf"/dev/(?:tcp|udp)/|\b(?:nc|ncat|netcat)\b{_ANY}\s-[a-z]*[ec]\b|\b{_SHELL}\s+-i\s*(?:[<>0-9]|2>)|mkfifo{_ANY}\|\s*{_SHELL}"
        rf"|\bsocat\b{_ANY}exec:", re.IGNORECASE)),
    ("miner", "it speaks to a pool of crypto miners", re.compile(
        r"stratum\+(?:tcp|ssl|tls)://|\bxmrig\b|\bminerd\b|\bcpuminer\b|\bcryptonight\b|\bnicehash\b|\bminexmr\b|supportxmr\.com|\bethminer\b"
        r"|\bnanopool\.org|\bdonate-level\b", re.IGNORECASE)),
    ("peek_at_processes", "it reads the insides of other processes", re.compile(
        rf"/proc/(?:self|thread-self)/(?:environ|mem\b|root\b|map_files|task/[^/]+/(?:environ|mem))"
        rf"|/proc/(?:\d+|\*|[^/\s]*[{{%*?\[{HOLE}][^/\s]*)/(?:environ|mem\b|maps\b|root\b|fd\b|fdinfo|map_files|task/[^/]+/(?:environ|mem|children)|ns/|exe\b|cwd\b)"
        r"|/proc/(?:kcore|kallsyms|sysrq-trigger|sys/kernel|1/)")),
    ("place_of_secrets", "it names a place where credentials lie", re.compile(
        r"/etc/(?:shadow|gshadow|sudoers|krb5\.keytab|ssl/private|mecapy)|\.ssh/(?:id_|authorized_keys|config|known_hosts)|\.aws/(?:credentials|config)"
        r"|\.kube/config|\.docker/config\.json|\.config/gcloud|\.git-credentials|\.pypirc\b|\.gnupg/|/var/run/secrets/|/run/secrets/"
        r"|Login Data\b|\.mozilla/firefox|wallet\.dat\b|\.bash_history\b")),
    ("metadata_service", "it asks the cloud's metadata service", re.compile(
        r"\b169\.254\.169\.254\b|\b169\.254\.170\.2\b|metadata\.google\.internal|\bfd00:ec2::254\b|\b100\.100\.100\.200\b|\b0xa9fea9fe\b|\b2852039166\b")),
    ("control_of_the_host", "it reaches for the control of the machine", re.compile(
        r"/var/run/docker\.sock|/run/(?:docker|containerd|crio|podman)\b[^\s]*\.sock|\brelease_agent\b|/dev/(?:mem|kmem|kmsg|port)\b|/sys/kernel/(?:debug|security|uevent_helper)"
        r"|\bcore_pattern\b|/sys/firmware|\bnsenter\b|\bunshare\s+-|/etc/(?:cron|ld\.so\.preload|systemd/system|init\.d|rc\.local)|\bcrontab\s+-")),
    ("destruction", "it destroys files or stops the machine", re.compile(
        rf"\brm\s+(?:-[a-z]*[rf][a-z]*\s+)+(?:--no-preserve-root\s+)?(?:/|~|\$HOME)(?:\s|\*|$)|\bmkfs(?:\.\w+)?\s+/dev/|\bdd\s+{_ANY}of=/dev/(?:sd|nvme|vd|xvd)"
        r"|:\(\)\s*\{\s*:\s*\|\s*:\s*&\s*\}\s*;\s*:")),
)  # fmt: skip


def hostile_texts(text: str) -> Iterator[tuple[str, str]]:
    """The rules that a text breaks, each as (rule, what it does)."""
    seen = text[:MAX_LENGTH]
    for rule, what, pattern in TEXTS:
        if pattern.search(seen):
            yield rule, what
