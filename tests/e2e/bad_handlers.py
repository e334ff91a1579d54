"""What tenants' code does by mistake or on purpose. Runs in the sandbox of the platform under test, nowhere else."""

import json
import mmap
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

OUT = Path("/workspace/out")


def good(value: float = 1.0) -> dict[str, Any]:
    return {"value": value}


def nan() -> dict[str, Any]:
    return {"value": float("nan")}


def infinity_in_a_list() -> dict[str, Any]:
    return {"value": 1.0, "list": [1.0, float("-inf")]}


def a_set() -> dict[str, Any]:
    return {"value": {1, 2}}


def deep() -> dict[str, Any]:
    value: Any = 1.0
    for _ in range(100_000):
        value = [value]
    return {"value": value}


def itself() -> dict[str, Any]:
    value: list[Any] = []
    value.append(value)
    return {"value": value}


def huge_integer() -> dict[str, Any]:
    return {"value": 10**400}


def nul_text() -> dict[str, Any]:
    return {"value": 1.0, "text": "a\0b"}


def wrong_type() -> dict[str, Any]:
    return {"value": "heavy"}


def missing_output() -> dict[str, Any]:
    return {"other": 1.0}


def big_result() -> dict[str, Any]:
    return {"value": 1.0, "text": "x" * 2_000_000}


def _leave(text: bytes) -> None:
    """Write the result past the runner, which would have refused it."""
    (OUT / "data.json").write_bytes(text)
    os._exit(0)


def no_json() -> None:
    _leave(b"{value: 1")


def no_object() -> None:
    _leave(b"[1.0]")


def bare_nan() -> None:
    _leave(b'{"value": NaN}')


def raw_deep() -> None:
    _leave(b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def raw_huge_integer() -> None:
    _leave(b'{"value": 1' + b"0" * 400 + b"}")


def raw_huge_float() -> None:
    _leave(b'{"value": 1e400}')


def twice() -> None:
    _leave(b'{"value": 1.0, "value": 2.0}')


def raw_nul() -> None:
    _leave(b'{"value": 1.0, "text": "a\\u0000b"}')


def raw_surrogate() -> None:
    _leave(b'{"value": 1.0, "text": "\\ud800"}')


def no_utf8() -> None:
    _leave(b'{"value": "\xff"}')


def long_key() -> None:
    _leave(json.dumps({"value": 1.0, "k" * 200_000: "a\0b"}).encode())


def raises() -> None:
    raise ValueError("The load is negative.")


def raises_unstorable() -> None:
    raise ValueError("a\0b \ud800 c" + "x" * 100_000)


def error_file_unstorable() -> None:
    record = {"error": {"a\0b": "\ud800"}, "type": "a\0b\ud800", "code": "x" * 10_000}
    (OUT / "_runner_error.json").write_text(json.dumps(record))
    os._exit(1)


def error_file_deep() -> None:
    (OUT / "_runner_error.json").write_text('{"error": ' + "[" * 100_000)
    os._exit(1)


def recursion() -> dict[str, Any]:
    return recursion()


def exits_politely() -> None:
    sys.exit(0)


def exits_with_a_code() -> None:
    sys.exit(3)


def exits_at_once() -> None:
    os._exit(0)


def exits_at_once_with_a_code() -> None:
    sys.stderr.write("the solver gave up\n")
    sys.stderr.flush()
    os._exit(7)


def kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    threading.Event().wait()


def _spin() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        threading.Event().wait(1)


def forks_and_ignores() -> None:
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                _spin()
            _spin()
    _spin()


def leaves_children() -> dict[str, Any]:
    if os.fork() == 0:
        os.setsid()
        _spin()
    return {"value": 1.0}


def fork_bomb() -> None:
    """Each process also takes memory: without that, either limit may be met first."""
    held = []
    while True:
        held.append(b"x" * (1 << 20))
        os.fork()


def fork_until_refused() -> None:
    while True:
        if os.fork() == 0:
            _spin()


def log_flood() -> dict[str, Any]:
    line = "x" * 1000 + "\n"
    while True:
        sys.stdout.write(line)


def log_in_bytes() -> dict[str, Any]:
    os.write(1, b"\0\xff\xfe no newline " + b"y" * 300_000)
    (OUT / "progress.jsonl").write_bytes(
        b'{"step": 1, "message": "a\\u0000b"}\n{"step": 1e400}\n{"step": "\\ud800"}\n[1]\n{"step": 2, "total": 2}\n'
        + b"[" * 200_000
        + b"\n"
    )
    return {"value": 1.0}


def disk_flood() -> None:
    with Path("/workspace/scratch/big").open("wb") as file:
        while True:
            file.write(b"x" * (1 << 20))


def inode_flood() -> None:
    number = 0
    while True:
        number += 1
        Path(f"/workspace/scratch/{number}").touch()


def memory_flood() -> None:
    kept = []
    while True:
        area = mmap.mmap(-1, 16 << 20)
        for page in range(0, 16 << 20, 4096):
            area[page] = 1
        kept.append(area)


def big_file() -> dict[str, Any]:
    (OUT / "artifacts/big.bin").write_bytes(b"x" * (3 << 20))
    return {"value": 1.0}


def many_files() -> dict[str, Any]:
    for number in range(2_500):
        (OUT / f"artifacts/{number}").touch()
    return {"value": 1.0}


def link() -> dict[str, Any]:
    (OUT / "artifacts/passwd").symlink_to("/etc/passwd")
    return {"value": 1.0}


def linked_result() -> None:
    (OUT / "data.json").symlink_to("/etc/passwd")
    os._exit(0)


def linked_folder() -> dict[str, Any]:
    (OUT / "artifacts").rmdir()
    (OUT / "artifacts").symlink_to("/etc")
    return {"value": 1.0}


def fifo() -> dict[str, Any]:
    os.mkfifo(OUT / "artifacts/pipe")
    return {"value": 1.0}


def fifo_as_result() -> None:
    os.mkfifo(OUT / "data.json")
    os._exit(0)


def sparse() -> dict[str, Any]:
    with (OUT / "artifacts/sparse").open("wb") as file:
        file.truncate(1 << 20)
    return {"value": 1.0}


def odd_names() -> dict[str, Any]:
    Path(os.fsdecode(b"/workspace/out/artifacts/\xff")).touch()
    return {"value": 1.0}


def long_names() -> dict[str, Any]:
    folder = OUT / "artifacts"
    for _ in range(10):
        folder /= "n" * 200
        folder.mkdir()
    (folder / ("f" * 200)).write_text("deep down")
    return {"value": 1.0}


def quoted_names() -> dict[str, Any]:
    (OUT / "artifacts/a\"b';é %2f\\..txt").write_text("quoted")
    (OUT / "artifacts/...").write_text("dots")
    return {"value": 1.0}


def closed_folder() -> dict[str, Any]:
    (OUT / "artifacts/inner").mkdir()
    (OUT / "artifacts/inner/file").write_text("x")
    (OUT / "artifacts/inner").chmod(0)
    OUT.chmod(0)
    return {"value": 1.0}


def no_file() -> dict[str, Any]:
    return {"value": 1.0}


def wrong_file() -> dict[str, Any]:
    (OUT / "files/report.exe").write_text("x")
    return {"value": 1.0}


def anything(**values: Any) -> dict[str, Any]:
    return {"value": float(len(values))}
