"""Entry point of `python -I -S .../sandbox/spawner`: isolated mode finds no package, so the path is given here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from mecapy_platform.sandbox.spawner.server import main

if __name__ == "__main__":
    main()
