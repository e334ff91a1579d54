"""Runs in the interpreter that tests a package: points the guest runner at a workspace of this machine.

Standard library only.

Arguments: guest directory, package directory, workspace, order (JSON). Must run on any Python >= 3.10, as `python -I
local_guest.py ..`.
"""

import importlib
import os
import sys
import types
from typing import Any


def main(guest: str, package: str, workspace: str, order: str) -> int:
    """Load the runner under the name it has in a sandbox, with our paths instead of the sandbox's."""
    stand_in = types.ModuleType("_mecapy_guest")
    stand_in.__path__ = [guest]
    sys.modules["_mecapy_guest"] = stand_in
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 -- pathlib costs start-up time in each test case
    sys.path[:] = [path for path in sys.path if path != here]
    runner: Any = importlib.import_module("_mecapy_guest.runner")
    runner.IN = f"{workspace}/in"
    runner.OUT = f"{workspace}/out"
    runner.RESULT = f"{workspace}/out/data.json"

    def set_paths(**_: object) -> None:
        sys.path.insert(0, package)
        os.environ["PYTHONPATH"] = package  # for the interpreters that the handler starts; the environment is theirs
        sys.argv = [""]

    runner.set_paths = set_paths  # the sandbox's own paths do not exist here
    return int(runner.main(order))


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:5]))
