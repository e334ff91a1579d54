"""What a manifest asks for and this node does not do; said in the log of a deployment."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mecapy_platform.core.manifest.platform import options_of
from mecapy_platform.sandbox.base import ReusingSandbox, Sandbox
from mecapy_platform.worker.checks.formulas import is_restricted


def ignored_options(manifest: Mapping[str, Any], sandboxes: Iterable[Sandbox], *, is_image: bool) -> Iterator[str]:
    """A sentence for each; `sandboxes` are those that run the version's tasks."""
    can_reuse = not is_image and any(isinstance(sandbox, ReusingSandbox) and sandbox.can_reuse for sandbox in sandboxes)
    platform = manifest.get("platform") or {}
    options = {name: options_of(platform, name) for name in manifest.get("functions") or {}}
    asked = [name for name, own in options.items() if own.get("reuse", 1) > 1]
    if asked and not can_reuse:
        yield f"`reuse` of {', '.join(asked)} is ignored: in containers each call has a process of its own."
        return
    for name in asked:
        if not options[name].get("warm", True) or is_restricted(options[name]):
            yield f"`reuse` of {name} is ignored: it runs neither with `warm: false` nor with `restricted_python`."
