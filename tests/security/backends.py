"""The backends that the attack suite runs on. One more backend is one more entry."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def _present() -> str:
    return ""


def _needs_bubblewrap() -> str:
    return "" if shutil.which("unshare") else "util-linux is not installed"


@dataclass(frozen=True)
class Backend:
    """How a platform with it is started, what its packages say, and why it may be absent here (empty: it is there)."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    is_warm: bool = False
    missing: Callable[[], str] = _present


BACKENDS = (
    Backend("bubblewrap-cold", missing=_needs_bubblewrap),
    Backend("bubblewrap-warm", is_warm=True, missing=_needs_bubblewrap),
)
