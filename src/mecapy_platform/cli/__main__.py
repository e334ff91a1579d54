"""`python -m mecapy_platform.cli` is `mecapy`."""

from mecapy_platform.cli.entry import main

main()
