"""The package manifest `mecapy.yml`: read it, with every problem at once, and read ports from a handler's signature."""

from mecapy_platform.core.manifest.models import (
    FunctionSpec,
    Manifest,
    PackageInfo,
    PortJson,
    Quality,
    Runtime,
    RuntimeKind,
    Visibility,
)
from mecapy_platform.core.manifest.parse import parse_manifest
from mecapy_platform.core.manifest.signature import SignaturePorts, ports_from_signature

__all__ = [
    "FunctionSpec",
    "Manifest",
    "PackageInfo",
    "PortJson",
    "Quality",
    "Runtime",
    "RuntimeKind",
    "SignaturePorts",
    "Visibility",
    "parse_manifest",
    "ports_from_signature",
]
