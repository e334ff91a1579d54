"""Entry point of `python -I -m mecapy_platform.sandbox.docker.broker`."""

from mecapy_platform.sandbox.docker.broker.server import main

if __name__ == "__main__":
    main()
