"""Names of calls and attributes that matter to the rules on hostile sources."""

PROCESS = frozenset(
    (
        *("os.system", "os.popen", "os.startfile", "pty.spawn", "commands.getoutput", "commands.getstatusoutput"),
        *(f"os.{kind}{end}" for kind in ("exec", "spawn") for end in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
        *("os.posix_spawn", "os.posix_spawnp", "_posixsubprocess.fork_exec", "asyncio.create_subprocess_shell"),
        *("asyncio.create_subprocess_exec",),
        *(
            f"subprocess.{name}"
            for name in ("run", "call", "check_call", "check_output", "Popen", "getoutput", "getstatusoutput")
        ),
    )
)
RUNNERS = frozenset(
    (
        *(
            "builtins.exec",
            "builtins.eval",
            "builtins.compile",
            "builtins.execfile",
            "timeit.timeit",
            "timeit.repeat",
            "cProfile.run",
        ),
        *("profile.run", "pdb.run", "pdb.runeval", "code.InteractiveInterpreter.runsource", "codeop.compile_command"),
    )
)
CODE_MAKERS = frozenset(("types.FunctionType", "types.CodeType", "builtins.FunctionType"))
CODE_READERS = frozenset(("marshal.loads", "marshal.load"))
DANGEROUS = PROCESS | RUNNERS | frozenset(("builtins.__import__", "importlib.import_module"))
DECODING = frozenset(
    (
        *(
            "base64.b64decode",
            "base64.standard_b64decode",
            "base64.urlsafe_b64decode",
            "base64.b32decode",
            "base64.b16decode",
        ),
        *(
            "base64.b85decode",
            "base64.a85decode",
            "base64.decodebytes",
            "binascii.unhexlify",
            "binascii.a2b_hex",
            "binascii.a2b_base64",
        ),
        *(
            "zlib.decompress",
            "gzip.decompress",
            "bz2.decompress",
            "lzma.decompress",
            "codecs.decode",
            "marshal.loads",
            "builtins.chr",
        ),
        *("builtins.bytes.fromhex", "bytes.fromhex", "builtins.bytearray.fromhex", "pickle.loads"),
    )
)
NETWORK = (
    *(
        "urllib.request.",
        "urllib2.",
        "requests.",
        "http.client.",
        "httpx.",
        "aiohttp.",
        "socket.create_connection",
        "socket.socket",
    ),
    *("ftplib.", "smtplib.", "telnetlib.", "paramiko.", "websocket.", "dns.resolver"),
)
DOWNLOADING = (
    *(
        "urllib.request.urlopen",
        "urllib.request.urlretrieve",
        "requests.get",
        "requests.post",
        "requests.request",
        "httpx.get",
        "httpx.post",
    ),
    *("urllib2.urlopen", "http.client.HTTPConnection", "http.client.HTTPSConnection"),
)
NATIVE_FUNCTIONS = frozenset(
    (
        *(
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "syscall",
            "mprotect",
            "mmap",
            "unshare",
            "setns",
            "clone",
            "mount",
            "umount2",
        ),
        *(
            "pivot_root",
            "chroot",
            "init_module",
            "finit_module",
            "delete_module",
            "bpf",
            "keyctl",
            "add_key",
            "memfd_create",
            "fexecve",
        ),
        *(
            "execve",
            "execv",
            "execvp",
            "system",
            "popen",
            "fork",
            "vfork",
            "prctl",
            "personality",
            "perf_event_open",
            "userfaultfd",
        ),
        *("io_uring_setup", "kexec_load", "reboot", "setuid", "setresuid", "capset", "landlock_create_ruleset"),
    )
)
# What only an escape from a restricted interpreter needs.
INSIDES = frozenset(
    (
        "__subclasses__",
        "__globals__",
        "__builtins__",
        "__code__",
        "f_globals",
        "f_builtins",
        "f_locals",
        "gi_frame",
        "tb_frame",
    )
)
GUARDED_OWNERS = frozenset(("os", "subprocess", "builtins", "pty", "_posixsubprocess"))
