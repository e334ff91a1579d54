"""Attacks by the result: what is read from out/data.json and the error files is a stranger's text."""

import json
import os
from pathlib import Path

from report import Report, pause

OUT = Path("/workspace/out")


def _leave(report: Report, what: str, raw: bytes) -> None:
    report.note(what, "left")
    (OUT / "data.json").write_bytes(raw)
    os._exit(0)


def huge(report: Report) -> None:
    _leave(report, "40 MB", b'{"reports": "' + b"x" * 40_000_000 + b'"}')


def nested(report: Report) -> None:
    _leave(report, "100000 brackets", b'{"reports": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def not_a_number(report: Report) -> None:
    _leave(report, "NaN", b'{"reports": {"x": NaN}}')


def infinite(report: Report) -> None:
    _leave(report, "1e999", b'{"reports": {"x": 1e999}}')


def huge_integer(report: Report) -> None:
    _leave(report, "an integer of 100000 digits", b'{"reports": {"x": 1' + b"0" * 100_000 + b"}}")


def duplicate_keys(report: Report) -> None:
    _leave(report, "one key twice", b'{"reports": {}, "reports": {"x": 1}}')


def invalid_utf8(report: Report) -> None:
    _leave(report, "bytes", b'{"reports": {"x": "\xff\xc3("}}')


def byte_order_mark(report: Report) -> None:
    _leave(report, "UTF-16", '{"reports": {}}'.encode("utf-16"))


def half_surrogate(report: Report) -> None:
    _leave(report, "half a pair", b'{"reports": {"x": "\\ud800"}}')


def nul_text(report: Report) -> None:
    _leave(report, "NUL", b'{"reports": {"x": "a\\u0000b"}}')


def many_keys(report: Report) -> None:
    _leave(report, "200000 keys", json.dumps({"reports": {f"k{number}": number for number in range(200_000)}}).encode())


def wrong_shape(report: Report) -> None:
    _leave(report, "a list", b"[]")


def strange_port(report: Report) -> None:
    _leave(report, "no declared port", b'{"__proto__": {}, "constructor": 1}')


def forged_error(report: Report) -> None:
    """An error file of one's own may name a code, never a state: it stays a failure of the user."""
    record = {
        "error": "the machine is gone",
        "type": "LostMachine",
        "code": "lost_machine",
        "state": "lost",
        "retry": True,
    }
    (OUT / "_runner_error.json").write_text(json.dumps(record))
    report.note("an error file that names lost_machine", "left")
    os._exit(1)


def error_beside_a_result(report: Report) -> None:
    (OUT / "_error.json").write_text(json.dumps({"error": "x" * 5_000_000, "code": "../../etc"}))
    _leave(report, "an error file and a result", b'{"reports": "{}"}')


def written_by_a_survivor(report: Report) -> None:
    """Who is still alive at the end may not give the result afterwards."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            pause(0.5)
            (OUT / "data.json").write_text(
                '{"reports": {"late": [{"what": "late", "answer": "late", "escaped": true}]}}'
            )
            pause(10)
        os._exit(0)
    report.note("a survivor writes the result after the end", "left")
    os._exit(0)


def exits_as_if_killed(report: Report) -> None:
    report.note("exit code 137", "left")
    os._exit(137)
