"""What the guest is told to run, as the text that it reads."""

import json

from mecapy_platform.sandbox.base import SandboxSpec


def guest_order(spec: SandboxSpec) -> str:
    """What guest/runner.py is told."""
    has_site = spec.environment is not None and spec.environment.site_packages is not None
    files = {"required": list(spec.required_files), "optional": list(spec.optional_files)}
    return json.dumps({"mode": spec.mode, "handler": spec.handler, "site": has_site, "files": files})
