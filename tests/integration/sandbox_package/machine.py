"""What libraries ask of the machine, and of a disk that they want their files on."""

import mmap
import os
import sqlite3
from typing import Any


def asks() -> dict[str, Any]:
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "total": memory.total,
        "available": memory.available,
        "percent": memory.percent,
        "swap": swap.total,
        "processors": psutil.cpu_count(),
        "by_call": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "own": psutil.Process().memory_info().rss,
    }


def writes_durably() -> dict[str, Any]:
    with sqlite3.connect("base.sqlite") as base:
        base.execute("PRAGMA synchronous = FULL")
        base.execute("CREATE TABLE part (name TEXT)")
        base.executemany("INSERT INTO part VALUES (?)", [("beam",), ("bolt",)])
    with open("mapped", "w+b") as file:
        file.truncate(8192)
        with mmap.mmap(file.fileno(), 0) as mapped:
            mapped[:4] = b"beam"
            mapped.flush()
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
    os.sync()
    with sqlite3.connect("base.sqlite") as base, open("mapped", "rb") as file:
        return {"parts": base.execute("SELECT count(*) FROM part").fetchone()[0], "mapped": file.read(4).decode()}
