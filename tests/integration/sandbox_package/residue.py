"""What one call leaves in the processes of its warm slot, and what the next one finds there."""

import os
import socket
from pathlib import Path


def leaves_result(mark: str) -> dict[str, str]:
    """A result that the stem reads: below 16 KiB, and nothing else is left."""
    return {"text": mark * 200}


def leaves_names(mark: str) -> dict[str, int]:
    for folder in ("files", "artifacts", f"artifacts/{mark}"):
        Path("/workspace/out", folder).mkdir(exist_ok=True)
        for number in range(150):
            Path(f"/workspace/out/{folder}/{mark}-{number}").touch(0o600)
    return {"result": 1}


def searches_memory(halves: list[str]) -> dict[str, int]:
    """How often the mark lies in what this process can write; it is put together nowhere here."""
    first, second = (half.encode() for half in halves)
    with open("/proc/self/maps") as file:
        ranges = [line.split()[:2] for line in file]
    found = searched = 0
    with open("/proc/self/mem", "rb", buffering=0) as source:
        for span, rights in ranges:
            start, end = (int(word, 16) for word in span.split("-"))
            if rights.startswith("rw") and end - start < 64 << 20:
                source.seek(start)
                content = source.read(end - start) or b""
                searched += len(content)
                found += sum(part.startswith(second) for part in content.split(first)[1:])
                del content
    return {"found": found, "searched": searched}


def uses_sockets(kind: str) -> dict[str, int]:
    """Leaves a connection that waits for its time, datagrams, or an attempt that found no route."""
    if kind == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with socket.create_connection(listener.getsockname()) as ours:
                theirs, _address = listener.accept()
                ours.sendall(b"x")
                theirs.recv(1)
            theirs.close()
    elif kind == "udp":
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as ours:
            ours.bind(("::1", 0))
            ours.sendto(b"x", ours.getsockname())
    elif kind == "no route":
        with socket.socket() as ours:
            assert ours.connect_ex(("198.51.100.1", 80)) != 0
    return {"space": os.stat("/proc/self/ns/net").st_ino}


def looks_at_network() -> dict[str, object]:
    """Sockets that are there, and every counter."""
    told: dict[str, object] = {"space": os.stat("/proc/self/ns/net").st_ino}
    for name in ("tcp", "tcp6", "udp", "udp6", "snmp", "snmp6", "netstat", "dev"):
        told[name] = Path("/proc/self/net", name).read_text()
    return told


def command_lines() -> dict[str, object]:
    """What every process that can be seen is called, and what it was started with."""
    import sys

    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with open(f"/proc/{name}/cmdline", "rb") as file:
            found[name] = file.read().decode().replace("\0", " ").strip()
    return {"lines": found, "arguments": [*sys.argv, *sys.orig_argv]}
