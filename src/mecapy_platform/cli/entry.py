"""Where `mecapy` begins: the version is said at once, everything else by the application."""

import sys

from mecapy_platform.cli.lazy import resolve
from mecapy_platform.version import VERSION


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"mecapy {VERSION}\n")
        return
    resolve("mecapy_platform.cli.main:app")(prog_name="mecapy")
