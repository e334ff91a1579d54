"""Attacks by network: any interface, any host, the host's own loopback, names, abstract sockets."""

import fcntl
import os
import socket
import struct

from report import Report, name_of

FAR = ("198.51.100.1", "8.8.8.8", "10.0.0.1", "172.17.0.1", "192.168.0.1", "192.168.122.1")


def interfaces_and_routes(report: Report) -> None:
    names = [name for _number, name in socket.if_nameindex()] if _has_index() else []
    with open("/proc/net/dev") as file:
        names += [line.split(":")[0].strip() for line in file.read().splitlines()[2:]]
    report.holds(
        "interfaces",
        set(names)
        <= {"lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"},
        names,
    )
    for path, kept in (("/proc/net/route", 1), ("/proc/net/arp", 1)):
        with open(path) as file:
            lines = file.read().splitlines()[kept:]
        report.holds(path, not lines, lines or "empty")


def _has_index() -> bool:
    try:
        socket.if_nameindex()
    except OSError:
        return False
    return True


def connects_far(report: Report) -> None:
    for host in FAR:
        for port in (53, 80, 443):
            with socket.socket() as one:
                one.settimeout(0.3)
                report.refused(f"tcp {host}:{port}", one.connect, (host, port))
    with socket.socket(socket.AF_INET6) as one:
        one.settimeout(0.3)
        report.refused("tcp [2001:db8::1]:80", one.connect, ("2001:db8::1", 80))


def sends_datagrams(report: Report) -> None:
    for host in (*FAR, "255.255.255.255", "224.0.0.1"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            report.refused(f"udp {host}:53", one.sendto, b"x", (host, 53))


def asks_for_names(report: Report) -> None:
    for name in ("example.com", "localhost.localdomain.example", report.world["hostname"] + ".local"):
        report.refused(f"getaddrinfo {name}", socket.getaddrinfo, name, 80)


def raw_and_packet(report: Report) -> None:
    for name, arguments in (
        ("raw icmp", (2, 3, 1)), ("raw all", (2, 3, 255)), ("raw v6", (10, 3, 58)), ("packet", (17, 3, 768)), ("packet dgram", (17, 2, 768)),
        ("netlink route", (16, 3, 0)), ("netlink audit", (16, 3, 9)), ("netlink netfilter", (16, 3, 12)), ("vsock", (40, 1, 0)),
        ("xdp", (44, 3, 0)), ("bluetooth", (31, 3, 1)), ("can", (29, 3, 1)), ("alg", (38, 5, 0)), ("tipc", (30, 5, 0)), ("smc", (43, 1, 0)),
        ("ping", (2, 2, 1)), ("sctp", (2, 1, 132)),
    ):  # fmt: skip
        report.refused(name, socket.socket, *arguments)


def loopback_of_the_host(report: Report) -> None:
    for port in report.world["listening"]:
        for host in ("127.0.0.1", "0.0.0.0", "::1", "::ffff:127.0.0.1"):
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
                one.settimeout(0.5)
                report.refused(f"tcp {host}:{port}", one.connect, (host, port))


def abstract_sockets_of_the_host(report: Report) -> None:
    for name in report.world["abstract"]:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            with socket.socket(socket.AF_UNIX, kind) as one:
                report.refused(f"@{name}", one.connect, f"\0{name}")
    with open("/proc/net/unix") as file:
        seen = [line.split()[-1] for line in file.read().splitlines()[1:] if "@" in line]
    report.holds(
        "/proc/net/unix",
        not [item for item in seen if any(name in item for name in report.world["abstract"])],
        seen or "none",
    )


def changes_interfaces(report: Report) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for name, number, request in (
            ("down lo", 0x8914, struct.pack("16sH14s", b"lo", 0, b"")),
            ("address of lo", 0x8916, struct.pack("16sHH4s8s", b"lo", 2, 0, bytes((10, 9, 8, 7)), b"")),
            ("new bridge", 0x89A0, b"br0\0" + b"\0" * 28),
            ("tunnel", 0x89F1, b"tunl0" + b"\0" * 35),
        ):
            report.refused(name, fcntl.ioctl, one, number, request)
        report.refused("SO_MARK", one.setsockopt, socket.SOL_SOCKET, 36, 7)
        report.refused("SO_RCVBUFFORCE", one.setsockopt, socket.SOL_SOCKET, 33, 1 << 20)
        report.refused("transparent", one.setsockopt, socket.SOL_IP, 19, 1)


def netfilter(report: Report) -> None:
    with socket.socket() as one:
        report.refused("iptables GET_INFO", one.getsockopt, socket.SOL_IP, 64, 84)
        report.refused("iptables SET_REPLACE", one.setsockopt, socket.SOL_IP, 64, b"\0" * 96)
        report.refused("ip6tables", one.getsockopt, 41, 64, 84)


def listens_for_others(report: Report) -> None:
    """A port of its own loopback may be opened: nobody else is there. The test sees whether the host's was taken."""
    port = report.world["listening"][0]
    try:
        with socket.create_server(("127.0.0.1", port)):
            report.note(f"listens on {port}", "in a network of its own")
    except OSError as error:
        report.note(f"listens on {port}", name_of(error), escaped=True)
    report.holds(
        "network namespace", os.stat("/proc/self/ns/net").st_ino != report.world["namespaces"]["net"], "its own"
    )


def namespaces_are_its_own(report: Report) -> None:
    for name, inode in report.world["namespaces"].items():
        own = os.stat(f"/proc/self/ns/{name}").st_ino
        report.holds(f"namespace {name}", own != inode, "its own" if own != inode else "the host's")
