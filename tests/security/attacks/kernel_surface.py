"""Attacks on the kernel's rarely used doors: each must be shut for a calculation."""

import contextlib
import ctypes
import fcntl
import mmap
import os
import pty
import signal
import socket
import struct

from calls import IS_X86, call, libc, raw
from report import Report, name_of

NEW_NAMESPACES = {
    "mount": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000, "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000,
    "time": 0x00000080,
}  # fmt: skip


def io_uring(report: Report) -> None:
    parameters = ctypes.create_string_buffer(120)
    report.refused("io_uring_setup", call, "io_uring_setup", 4, parameters)
    report.refused("io_uring_enter", call, "io_uring_enter", 0, 0, 0, 0, 0, 0)
    report.refused("io_uring_register", call, "io_uring_register", -1, 0, 0, 0)


def bpf_and_perf(report: Report) -> None:
    attributes = ctypes.create_string_buffer(128)
    struct.pack_into("IIII", attributes, 0, 2, 4, 4, 1)
    report.refused("bpf(MAP_CREATE)", call, "bpf", 0, attributes, 128)
    report.refused("bpf(PROG_LOAD)", call, "bpf", 5, attributes, 128)
    event = ctypes.create_string_buffer(128)
    struct.pack_into("IIQ", event, 0, 1, 112, 0)
    report.refused("perf_event_open", call, "perf_event_open", event, 0, -1, -1, 0)


def userfaultfd(report: Report) -> None:
    report.refused("userfaultfd", call, "userfaultfd", 0)
    report.refused("userfaultfd(USER_MODE_ONLY)", call, "userfaultfd", 1)


def keyrings(report: Report) -> None:
    report.refused("add_key", call, "add_key", b"user", b"name", b"secret", 6, -3)
    report.refused("request_key", call, "request_key", b"user", b"name", 0, -3)
    report.refused("keyctl(GET_KEYRING_ID)", call, "keyctl", 0, -3, 1)
    report.refused("keyctl(JOIN_SESSION)", call, "keyctl", 1, 0)


def modules_and_kexec(report: Report) -> None:
    for name in ("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"):
        report.refused(name, call, name, 0, 0, 0, 0, 0)


def clocks_names_and_ports(report: Report) -> None:
    report.refused("clock_settime", call, "clock_settime", 0, (ctypes.c_long * 2)(0, 0))
    report.refused("settimeofday", call, "settimeofday", (ctypes.c_long * 2)(0, 0), 0)
    report.refused("clock_adjtime", call, "clock_adjtime", 0, ctypes.create_string_buffer(256))
    report.refused("sethostname", call, "sethostname", b"x", 1)
    report.refused("setdomainname", call, "setdomainname", b"x", 1)
    if IS_X86:
        report.refused("iopl", call, "iopl", 3)
        report.refused("ioperm", call, "ioperm", 0, 1, 1)
        report.refused("modify_ldt", call, "modify_ldt", 0, ctypes.create_string_buffer(16), 16)


def placement_of_memory(report: Report) -> None:
    for name in ("mbind", "set_mempolicy", "migrate_pages", "move_pages"):
        report.refused(name, call, name, 0, 0, 0, 0, 0, 0)
    report.refused("vmsplice", call, "vmsplice", 1, 0, 0, 0)
    report.refused("memfd_secret", call, "memfd_secret", 0)


def newest_calls(report: Report) -> None:
    """Whatever is newer than the table answers as a kernel would that does not know it."""
    for number in (*range(450, 480), 511, 1000, 0x7FFFFFFF):
        report.refused(f"call {number}", _apart, number)


def new_namespaces(report: Report) -> None:
    for name, flag in NEW_NAMESPACES.items():
        report.refused(f"unshare({name})", call, "unshare", flag)
    report.refused("unshare(user + all)", call, "unshare", sum(NEW_NAMESPACES.values()))


def new_namespaces_by_clone(report: Report) -> None:
    for name, flag in NEW_NAMESPACES.items():
        if name == "time":
            continue  # clone reads this bit as part of the signal
        report.refused(f"clone({name})", _clone, flag | signal.SIGCHLD)
        report.refused(f"clone({name}), high bits set", _clone, 1 << 40 | flag | signal.SIGCHLD)
    arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, signal.SIGCHLD)
    report.refused("clone3(user)", call, "clone3", arguments, 88)
    report.refused("clone3(nothing)", call, "clone3", (ctypes.c_uint64 * 11)(0, 0, 0, 0, signal.SIGCHLD), 88)


def _clone(flags: int) -> int:
    pid = call("clone", flags, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    return pid


def enters_namespaces(report: Report) -> None:
    for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        for pid in ("1", "self"):
            path = f"/proc/{pid}/ns/{name}"
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError as error:
                report.note(path, str(error.strerror))
                continue
            report.refused(f"setns({path})", call, "setns", descriptor, 0)
            report.refused(f"owner of {path}", _owner_beyond_its_own, descriptor)
            report.refused(f"NS_GET_PARENT {path}", call, "ioctl", descriptor, 0xB702, 0)
            os.close(descriptor)


def _owner_beyond_its_own(descriptor: int) -> int:
    """NS_GET_USERNS; its own user namespace is no news."""
    owner = os.fstat(call("ioctl", descriptor, 0xB701, 0))
    if owner.st_ino == os.stat("/proc/self/ns/user").st_ino:
        raise OSError(None, "its own user namespace")
    return owner.st_ino


def maps_users(report: Report) -> None:
    for path, text in (
        ("/proc/self/uid_map", "0 1000 1"),
        ("/proc/self/gid_map", "0 1000 1"),
        ("/proc/self/setgroups", "allow"),
    ):
        report.refused(path, _write_map, path, text)


def _write_map(path: str, text: str) -> int:
    with open(path, "w") as file:
        return file.write(text)


def calls_of_32_bit(report: Report) -> None:
    """`int 0x80`: numbers of another table, which a filter by number alone would misread."""
    if not IS_X86:
        report.note("int 0x80", "not on this machine")
        return
    for name, number in (("getpid", 20), ("mount", 21), ("unshare", 310), ("bpf", 357)):
        code = b"\xb8" + struct.pack("<I", number) + b"\x31\xdb\x31\xc9\x31\xd2\x31\xf6\x31\xff\xcd\x80\xc3"
        ended = _run_code(code)
        report.holds(f"int 0x80, {name}", ended in {-signal.SIGSYS, -signal.SIGSEGV}, f"ended by {ended}")


def calls_of_x32(report: Report) -> None:
    if not IS_X86:
        report.note("x32", "not on this machine")
        return
    for name, number in (("getpid", 39), ("unshare", 272), ("ptrace", 521), ("io_uring_setup", 425)):
        report.refused(f"x32 {name}", _apart, 0x40000000 | number)


def _apart(number: int) -> int:
    """In a child: a filter may also answer by a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            raw(number, 0, 0, 0, 0, 0, 0)
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if ended != 0:
        raise OSError(ended, "refused") if ended > 0 else OSError(None, f"killed by signal {-ended}")
    return ended


def _run_code(code: bytes) -> int:
    pid = os.fork()
    if pid == 0:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        ctypes.CFUNCTYPE(ctypes.c_long)(address)()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def types_into_terminals(report: Report) -> None:
    """TIOCSTI and TIOCLINUX, also with bits above the 32 that the kernel looks at."""
    try:
        main, side = pty.openpty()
    except OSError as error:
        report.note("openpty", str(error.strerror))
        main = side = 0
    letter = ctypes.c_char(b"x")
    for high in (0, 1 << 32, 1 << 63):
        report.refused(f"TIOCSTI + {high:#x}", call, "ioctl", side, 0x5412 | high, ctypes.byref(letter))
        report.refused(f"TIOCLINUX + {high:#x}", call, "ioctl", side, 0x541C | high, ctypes.byref(letter))
    report.refused("controlling terminal", os.open, "/dev/tty", os.O_RDWR)
    report.holds("terminals at 0, 1, 2", not any(os.isatty(number) for number in range(3)), "none")
    del main


def personality(report: Report) -> None:
    for name, value in (
        ("ADDR_NO_RANDOMIZE", 0x0040000),
        ("READ_IMPLIES_EXEC", 0x0400000),
        ("MMAP_PAGE_ZERO", 0x0100000),
    ):
        report.refused(name, call, "personality", value)
        report.refused(f"{name}, with Linux32", call, "personality", value | 8)


def filters_of_its_own(report: Report) -> None:
    """An own filter that allows all takes nothing back; a listener would let it answer for others."""
    program = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
    buffer = ctypes.create_string_buffer(program)
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(buffer)))
    with contextlib.suppress(OSError):
        call("seccomp", 1, 0, filters)
    report.refused("bpf after an own filter", call, "bpf", 0, 0, 0)
    report.refused("unshare after an own filter", call, "unshare", 0x10000000)
    report.refused("strict mode off", _prctl, 22, 0)
    report.holds("no_new_privs cannot be cleared", libc.prctl(38, 0, 0, 0, 0) != 0, "EINVAL")


def _prctl(*arguments: int) -> int:
    if libc.prctl(*arguments, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno() or 22, "refused")
    return 0


def landlock_cannot_be_widened(report: Report) -> None:
    """Rules of its own only take away."""
    rules = (ctypes.c_uint64 * 3)((1 << 13) - 1, 0, 0)
    ruleset = libc.syscall(444, ctypes.byref(rules), 8, 0)
    if ruleset < 0:
        report.note("landlock_create_ruleset", "absent or refused")
    else:
        root = os.open("/", os.O_PATH)
        rule = ctypes.create_string_buffer(struct.pack("<Qi", (1 << 13) - 1, root), 12)
        libc.syscall(445, ruleset, 1, rule, 0)
        libc.syscall(446, ruleset, 0)
    report.refused("a device after rules of its own", os.mknod, "/tmp/whiteout", 0o020600, 0)
    report.refused("a file in / after rules of its own", os.open, "/planted", os.O_CREAT | os.O_WRONLY)


def rare_socket_families(report: Report) -> None:
    for family in (3, 4, 5, 9, 15, 16, 17, 21, 24, 26, 29, 30, 31, 38, 40, 43, 44, 45, 1 << 32 | 40, 1 << 32 | 16):
        for kind in (1, 2, 3, 5):
            report.refused(f"socket({family & 0xFFFFFFFF}, {kind})", call, "socket", family, kind, 0)


def notices_of_others(report: Report) -> None:
    """Watching shared libraries would tell when another company's calculation starts."""
    report.refused("inotify_init1", call, "inotify_init1", 0)
    for path in ("/usr/lib", "/package", "/etc"):
        folder = os.open(path, os.O_RDONLY)
        report.refused(f"F_NOTIFY {path}", fcntl.fcntl, folder, 1026, 0x80000001)
        os.close(folder)
    file = os.open("/etc/passwd", os.O_RDONLY)
    report.refused("F_SETLEASE", fcntl.fcntl, file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    os.close(file)


def sockets_with_rare_options(report: Report) -> None:
    """Raw sockets, packet filters of the kernel, other transports."""
    for family, kind, protocol in (
        (2, 3, 1),
        (2, 3, 255),
        (10, 3, 58),
        (2, 2, 1),
        (2, 5, 132),
        (2, 6, 33),
        (2, 2, 136),
    ):
        report.refused(f"socket({family}, {kind}, {protocol})", socket.socket, family, kind, protocol)


def disks_are_not_flushed(report: Report) -> None:
    """Of no descriptor at all the kernel would say EBADF: an answer shows that the call never came to it."""
    call("sync")
    for name in ("syncfs", "fsync", "fdatasync", "sync_file_range"):
        try:
            call(name, -1, 0, 0, 0)
        except OSError as error:
            report.note(name, name_of(error), escaped=True)
        else:
            report.note(name, "answered, and nothing was done")
    with open("/tmp/written", "w") as file:
        file.write("kept")
        file.flush()
        os.fsync(file.fileno())
    report.holds("a file that was synced", open("/tmp/written").read() == "kept", "holds what was written")
