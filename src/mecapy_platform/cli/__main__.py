"""`python -m mecapy_platform.cli` is `mecapy`."""

from mecapy_platform.cli.main import app

app(prog_name="mecapy")
