"""System calls by number, so that no library stands between the attack and the kernel. Runs inside the sandbox alone."""

import ctypes
import os
import platform
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
IS_X86 = platform.machine() == "x86_64"

# name: (x86_64, aarch64); newer calls have one number everywhere
NUMBERS = {
    "getpid": (39, 172),
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "sync": (162, 81),
    "sync_file_range": (277, 84),
    "syncfs": (306, 267),
    "modify_ldt": (154, -1),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "lookup_dcookie": (212, 18),
    "clock_settime": (227, 112),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "migrate_pages": (256, 238),
    "unshare": (272, 97),
    "vmsplice": (278, 75),
    "move_pages": (279, 239),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "clock_adjtime": (305, 266),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "seccomp": (317, 277),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "clone": (56, 220),
    "personality": (135, 92),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "mknodat": (259, 33),
    "futex": (202, 98),
    "inotify_init1": (294, 26),
    "ioctl": (16, 29),
    "socket": (41, 198),
    "mlockall": (151, 230),
    "memfd_create": (319, 279),
    "timer_create": (222, 107),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount_setattr": (442, 442),
    "quotactl_fd": (443, 443),
    "memfd_secret": (447, 447),
    "cachestat": (451, 451),
    "listmount": (458, 458),
    "statmount": (457, 457),
}


def call(name: str, *arguments: Any) -> int:
    """Make the call; raises OSError as Python's own wrappers do."""
    return raw(NUMBERS[name][0 if IS_X86 else 1], *arguments)


def raw(number: int, *arguments: Any) -> int:
    ctypes.set_errno(0)
    answer: int = libc.syscall(ctypes.c_long(number), *[_wide(argument) for argument in arguments])
    if answer == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


def _wide(value: Any) -> Any:
    """Registers are 64 bits wide; ctypes would pass 32."""
    return ctypes.c_ulong(value & 0xFFFFFFFFFFFFFFFF) if isinstance(value, int) else value
