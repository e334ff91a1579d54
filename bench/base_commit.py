"""Another commit, with an environment of its own, in a worktree outside of this one, kept for the next run."""

import os
import subprocess
import sys
from pathlib import Path

from platformdirs import user_cache_path

ROOT = Path(__file__).parents[1]
PLACE = "MECAPY_BENCH_CACHE"


def resolve(name: str) -> str:
    """The whole hash of a commit."""
    return _git("rev-parse", "--verify", f"{name}^{{commit}}")


def built(commit: str) -> Path:
    """The commit's own `mecapy`, set up by its own Makefile with the Python that runs this."""
    tree = Path(os.environ.get(PLACE) or user_cache_path("mecapy-bench")) / commit
    if not (tree / "Makefile").exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        _git("worktree", "prune")
        _git("worktree", "add", "--force", "--detach", str(tree), commit)
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run(["make", "--silent", "-C", tree, "setup", f"PYTHON={python}"], check=True)
    return tree / ".venv" / "bin" / "mecapy"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()
