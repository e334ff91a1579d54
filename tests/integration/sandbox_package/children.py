"""Handlers that start processes of their own, for the contract suite. Standard library only, Python >= 3.10."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

HELD: list[Any] = []


def forks(kind: str, waits: bool) -> dict[str, int]:
    """The child leaves this function in some way; the answer is the parent's."""
    pid = os.fork()
    if pid == 0:
        if kind == "raises":
            raise ValueError("only the child")
        if kind == "exits":
            sys.exit(4)
        if kind == "exits_at_once":
            os._exit(5)
        if kind == "grandchild":
            os.fork()
        return {"pid": 0, "code": -1}
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if waits else -1
    return {"pid": pid > 0, "code": code}


def forks_with_open_file() -> dict[str, Any]:
    """What the parent holds in a buffer is written once."""
    file = Path("/workspace/out/artifacts/held.txt").open("w")  # noqa: SIM115 - left open on purpose
    HELD.append(file)
    file.write("once\n")
    pid = os.fork()
    if pid == 0:
        return {"who": "child"}
    os.waitpid(pid, 0)
    return {"who": "parent"}


def values() -> dict[str, Any]:
    from datetime import date
    from decimal import Decimal
    from fractions import Fraction

    return {"day": date(2026, 3, 4), "decimal": Decimal("0.5"), "fraction": Fraction(1, 4), "flag": True}


CHILD = """import children, from_environment, by_pth, fractions, json, sys
print(json.dumps({**children.found(), "flags": [sys.flags.no_site, sys.flags.isolated]}))
"""


def found(_number: int = 0) -> dict[str, Any]:
    """What an interpreter sees: the environment, a module that its .pth file leads to, the real standard library."""
    import fractions

    import by_pth  # type: ignore[import-not-found]
    import from_environment  # type: ignore[import-not-found]

    return {"names": [from_environment.NAME, by_pth.NAME], "half": str(fractions.Fraction(1, 2)), "pid": os.getpid()}


def starts(how: str) -> list[Any]:
    """What the interpreters found that were started so: without their pids, which must not be ours."""
    import json

    seen: list[dict[str, Any]] = []
    program = sys.executable
    by_command = {
        "command": [program, "-c", CHILD],
        "isolated": [program, "-I", "-c", CHILD],
        "real path": [str(Path(program).resolve()), "-c", CHILD],
        "name": [Path(program).name, "-c", CHILD],
        "module": [program, "-m", "children"],
        "module of the environment": [program, "-m", "from_environment"],
        "flags": [program, *subprocess._args_from_interpreter_flags(), "-c", CHILD],  # type: ignore[attr-defined]
        "script": [program, "/workspace/scratch/script.py"],
    }

    def run() -> None:
        if how in by_command:
            Path("/workspace/scratch/script.py").write_text(CHILD)
            done = subprocess.run(by_command[how], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            seen.append(json.loads(done.stdout))
        else:
            with multiprocessing.get_context(how).Pool(2) as pool:
                seen.extend(pool.map(found, range(2)))

    worker = threading.Thread(target=run)
    worker.start()
    worker.join()
    assert os.getpid() not in {item.pop("pid") for item in seen}
    return seen


def runs(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    exec(CHILD)
