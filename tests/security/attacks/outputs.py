"""Attacks by what is left in out/: whoever collects it must not follow, block, blow up or be raced."""

import contextlib
import os
import socket
import stat
import time
from pathlib import Path

from report import Report, pause

OUT = Path("/workspace/out")
ARTIFACTS = OUT / "artifacts"
FILES = OUT / "files"


def link_to_a_host_file(report: Report) -> None:
    (ARTIFACTS / "passwd").symlink_to("/etc/passwd")
    report.note("symlink to /etc/passwd", "left")


def relative_link_upwards(report: Report) -> None:
    (ARTIFACTS / "up").symlink_to("../../../../../../../../etc/shadow")
    report.note("symlink ../../..", "left")


def link_to_proc(report: Report) -> None:
    (ARTIFACTS / "environ").symlink_to("/proc/self/environ")
    report.note("symlink to /proc/self/environ", "left")


def folder_as_link(report: Report) -> None:
    ARTIFACTS.rmdir()
    ARTIFACTS.symlink_to("/")
    report.note("artifacts -> /", "left")


def files_folder_as_link(report: Report) -> None:
    for item in FILES.iterdir():
        item.unlink()
    FILES.rmdir()
    FILES.symlink_to("/workspace/in")
    report.note("files -> /workspace/in", "left")


def result_as_link(report: Report) -> None:
    (OUT / "data.json").symlink_to("/workspace/in/data.json")
    report.note("data.json -> in/data.json", "left")
    os._exit(0)


def result_as_fifo(report: Report) -> None:
    os.mkfifo(OUT / "data.json")
    report.note("data.json is a FIFO", "left")
    os._exit(0)


def result_as_folder(report: Report) -> None:
    (OUT / "data.json").mkdir()
    report.note("data.json is a folder", "left")
    os._exit(0)


def error_as_link(report: Report) -> None:
    (OUT / "_runner_error.json").symlink_to("/etc/passwd")
    (OUT / "_error.json").symlink_to("/proc/self/environ")
    report.note("error files are links", "left")
    os._exit(5)


def fifo(report: Report) -> None:
    os.mkfifo(ARTIFACTS / "pipe")
    report.note("a FIFO", "left")


def unix_socket(report: Report) -> None:
    socket.socket(socket.AF_UNIX).bind(str(ARTIFACTS / "socket"))
    report.note("a socket", "left")


def device(report: Report) -> None:
    for name, kind in (("zero", stat.S_IFCHR), ("disk", stat.S_IFBLK)):
        report.refused(f"mknod {name}", os.mknod, ARTIFACTS / name, kind | 0o666, os.makedev(1, 5))


def sparse_file(report: Report) -> None:
    with (ARTIFACTS / "sparse").open("wb") as file:
        file.truncate(64 << 20)
    report.note("64 MiB of nothing", "left")


def file_of_a_terabyte(report: Report) -> None:
    with (ARTIFACTS / "huge").open("wb") as file:
        report.refused("truncate to 1 TiB", file.truncate, 1 << 40)
    (ARTIFACTS / "huge").unlink()


def hard_link_inside(report: Report) -> None:
    (ARTIFACTS / "one").write_text("x")
    os.link(ARTIFACTS / "one", ARTIFACTS / "two")
    report.note("two names of one file", "left")


def hard_link_to_an_input(report: Report) -> None:
    report.refused("link to in/data.json", os.link, "/workspace/in/data.json", ARTIFACTS / "input")
    report.refused("link to scratch", os.link, "/package/entry.py", ARTIFACTS / "code")


def name_that_is_not_utf8(report: Report) -> None:
    Path(os.fsdecode(b"/workspace/out/artifacts/\xff\xfe")).write_text("x")
    report.note("a name of bytes", "left")


def name_with_newline(report: Report) -> None:
    (ARTIFACTS / "a\nb: 1\r\nX-Header: 1").write_text("x")
    report.note("a name with line ends", "left")


def names_that_look_like_ways_up(report: Report) -> None:
    for name in (
        "..%2f..%2fetc%2fpasswd",
        "..\\..\\windows",
        "....",
        " ",
        "-rf",
        "C:",
        "con",
        "\u202egpj.exe",
        "a" * 200,
        "'; drop table tasks --",
    ):
        (ARTIFACTS / name).write_text("harmless")
    report.note("names that look like ways up", "left")


def deep_tree(report: Report) -> None:
    os.chdir(ARTIFACTS)
    for _ in range(300):
        os.mkdir("deep")
        os.chdir("deep")
    Path("end").write_text("x")
    report.note("300 folders deep", "left")


def path_beyond_its_maximum(report: Report) -> None:
    os.chdir(ARTIFACTS)
    for _ in range(30):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    Path("end").write_text("x")
    os.chdir("/")
    report.note("a path of 7500 characters", "left")


def too_many_files(report: Report) -> None:
    for number in range(3000):
        (ARTIFACTS / str(number)).touch()
    report.note("3000 files", "left")


def too_many_folders(report: Report) -> None:
    made = 0
    with contextlib.suppress(OSError):
        for number in range(30_000):
            (ARTIFACTS / str(number)).mkdir()
            made += 1
    report.holds("30000 folders", made < 30_000, f"{made} made, then the kernel refused")


def closed_modes(report: Report) -> None:
    folder = ARTIFACTS / "closed"
    folder.mkdir()
    (folder / "file").write_text("seen")
    (folder / "file").chmod(0)
    folder.chmod(0)
    report.note("modes 000", "left")


def set_user_id_output(report: Report) -> None:
    (ARTIFACTS / "program").write_text("#!/bin/sh\nid\n")
    (ARTIFACTS / "program").chmod(0o6777)
    report.note("an output with the set-user-id bit", "left")


def swapped_while_collected(report: Report) -> None:
    """Survivors that swap a file and a link as fast as they can, beyond the end of the task."""
    (ARTIFACTS / "file").write_text("mine")
    os.symlink("/etc/passwd", ARTIFACTS / "link")
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                _swap()
            os._exit(0)
    pause(0.2)
    report.note("three survivors swap a file and a link", "left")


def _swap() -> None:
    while True:
        for first, second in (("file", "spare"), ("link", "file"), ("file", "link"), ("spare", "file")):
            with contextlib.suppress(OSError):
                os.rename(ARTIFACTS / first, ARTIFACTS / second)


def growing_while_collected(report: Report) -> None:
    for _ in range(2):
        if os.fork() == 0:
            os.setsid()
            with (ARTIFACTS / "growing").open("ab", buffering=0) as file:
                while True:
                    with contextlib.suppress(OSError):
                        file.write(b"x" * 4096)
                        pause(0.001)
    pause(0.1)
    report.note("a survivor appends for ever", "left")


def folder_swapped_for_link(report: Report) -> None:
    (ARTIFACTS / "folder").mkdir()
    (ARTIFACTS / "folder" / "inside").write_text("mine")
    os.symlink("/etc", ARTIFACTS / "etc")
    if os.fork() == 0:
        os.setsid()
        while True:
            with contextlib.suppress(OSError):
                os.rename(ARTIFACTS / "folder", OUT / "aside")
                os.rename(ARTIFACTS / "etc", ARTIFACTS / "folder")
                os.rename(ARTIFACTS / "folder", ARTIFACTS / "etc")
                os.rename(OUT / "aside", ARTIFACTS / "folder")
    pause(0.1)
    report.note("a survivor swaps a folder and a link to /etc", "left")


def progress_as_link(report: Report) -> None:
    (OUT / "progress.jsonl").symlink_to("/etc/passwd")
    pause(0.6)
    report.note("progress.jsonl -> /etc/passwd", "left")


def progress_as_fifo(report: Report) -> None:
    os.mkfifo(OUT / "progress.jsonl")
    pause(0.6)
    report.note("progress.jsonl is a FIFO", "left")


def progress_of_one_endless_line(report: Report) -> None:
    with (OUT / "progress.jsonl").open("wb") as file:
        for _ in range(20):
            file.write(b"[" * (1 << 20))
    pause(0.6)
    report.note("20 MiB of one line", "left")


def progress_swapped(report: Report) -> None:
    end = time.monotonic() + 1
    while time.monotonic() < end:
        (OUT / "progress.jsonl").write_text('{"step": 1}\n')
        (OUT / "progress.jsonl").unlink()
        (OUT / "progress.jsonl").symlink_to("/etc/passwd")
        (OUT / "progress.jsonl").unlink()
    report.note("progress.jsonl swapped for a link", "many times")
