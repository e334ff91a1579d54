"""PID 1 of a container: starts the user's process, keeps its limits, and holds what it left until a worker has read it.

Nothing here depends on a worker being there: one that comes back connects again and finds everything. The worker gets
the descriptors of out/ and of the log once, over a socket that only this process may speak on. Standard library only,
Python >= 3.10.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without the package around it, whose enumerations cost milliseconds
import os
import sys
import time

sys.path.insert(0, "/mecapy")

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NoReturn

PORT = "/mecapy/port/socket"
OUT = "/workspace/out"
PLACES = (OUT, "/workspace/scratch", "/tmp", "/dev/shm")  # noqa: S108 - inside the sandbox
LOOK_MILLISECONDS = 100
PIECE = 65536
FLOOD = 2  # times the log limit: then the run is ended
FULL_BYTES = 1 << 16
STREAMS = {1: "stdout", 2: "stderr"}
MAX_DEPTH = 20
OWN_FILES, OWN_BYTES = 4, 1 << 14  # folders and the list that we make ourselves


class Link:
    """The connection to whichever worker listens. Losing it costs nothing: the next hello says how things stand."""

    def __init__(self, out: int, log: int) -> None:
        self._descriptors = (out, log)
        self._socket: Any = None
        self._place = (0, 0)
        self._heard = b""

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def look(self, state: dict[str, Any]) -> None:
        """Connect where a worker listens that is not the one we speak with.

        It takes its socket away once we have come.
        """
        try:
            seen = os.stat(PORT)
        except OSError:
            return
        place = (seen.st_ino, seen.st_ctime_ns)  # a number alone is soon used again
        if self._socket is None or place != self._place:
            self._connect(place, state)

    def _connect(self, place: tuple[int, int], state: dict[str, Any]) -> None:
        import _socket
        from struct import pack

        self.drop()
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            made.connect(PORT)
            self._socket, self._place = made, place
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("2i", *self._descriptors))]
            made.sendmsg([_line({"hello": state})], rights)
        except OSError:
            self._socket = None
            made.close()

    def say(self, message: dict[str, Any]) -> None:
        """A message that does not go through as a whole ends the connection; the next hello makes up for it."""
        if self._socket is None:
            return
        raw = _line(message)
        try:
            if self._socket.send(raw) != len(raw):
                self.drop()
        except BlockingIOError:
            if "log" not in message:
                self.drop()
        except OSError:
            self.drop()

    def hear(self) -> list[dict[str, Any]]:
        from _mecapy_guest import quickjson

        try:
            piece = self._socket.recv(PIECE)
        except BlockingIOError:
            return []
        except OSError:
            piece = b""
        if not piece:
            self.drop()
            return []
        *lines, self._heard = (self._heard + piece).split(b"\n")
        return [quickjson.loads(line.decode()) for line in lines if line]

    def drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._heard = None, b""


def _line(message: dict[str, Any]) -> bytes:
    from _mecapy_guest import quickjson

    text: str = quickjson.dumps(message)
    return text.encode() + b"\n"


class ContainerRun:
    """One run: the user's process, its output, its limits."""

    def __init__(self, order: dict[str, Any], link: Link, log: int) -> None:
        self.order = order
        self.limits = order["limits"]
        self.link = link
        self.log = log
        self.log_bytes = 0
        self.pipes: dict[int, int] = {}  # read end -> 1 or 2
        self.child = 0
        self.status: int | None = None
        self.started_at = 0.0
        self.kill_at = 0.0
        self.reason = "exited"
        self.stop = ""
        self.found: dict[str, Any] = {}  # the numbers of a limit that was met
        self.ended: dict[str, Any] | None = None

    def state(self) -> dict[str, Any]:
        return {
            "ended": self.ended,
            "running": self.child != 0,
            "seconds": time.monotonic() - self.started_at if self.child else 0.0,
        }

    def start(self, confine: ModuleType) -> None:
        for name in ("files", "artifacts"):
            os.mkdir(f"{OUT}/{name}")
        ends = {number: os.pipe2(os.O_CLOEXEC) for number in STREAMS}
        self.started_at = time.monotonic()
        self.child = os.fork()
        if self.child == 0:
            _be_the_user(confine, self.order, {number: write for number, (_read, write) in ends.items()})
        for number, (read, write) in ends.items():
            os.close(write)
            os.set_blocking(read, False)
            self.pipes[read] = number

    def read_all(self, ready: set[int]) -> None:
        """Take a piece of each pipe that has one, and ring at the worker's."""
        before = self.log_bytes
        for pipe in ready & self.pipes.keys():
            if not self.read(pipe):
                os.close(pipe)
                del self.pipes[pipe]
        if self.log_bytes != before:
            self.link.say({"log": self.log_bytes})

    def look_after(self) -> None:
        if not self.child or self.ended is not None:
            return
        if self.reap():
            self.end()
            self.link.say({"ended": self.ended})
        else:
            self.look_at_limits()

    def read(self, pipe: int) -> bool:
        """Take one piece of output; False at its end."""
        try:
            data = os.read(pipe, PIECE)
        except BlockingIOError:
            return True
        if not data:
            return False
        limit = self.limits["log_bytes"]
        if self.log_bytes <= limit:
            os.write(self.log, bytes((self.pipes[pipe],)) + len(data).to_bytes(4, "big") + data)
        self.log_bytes += len(data)
        if self.log_bytes > limit * FLOOD and self.reason != "log_limit":
            self.reason = "log_limit"
            signal_all(signal.SIGKILL)
        return True

    def ask_to_stop(self, reason: str) -> None:
        if not self.stop and self.ended is None:
            self.stop = reason
            self.kill_at = time.monotonic() + self.limits["grace_seconds"]
            signal_all(signal.SIGTERM)

    def look_at_limits(self) -> None:
        now = time.monotonic()
        if now - self.started_at >= self.limits["timeout_seconds"] and not self.stop:
            self.ask_to_stop("timeout")
        if self.stop and now >= self.kill_at:
            signal_all(signal.SIGKILL)
        used, files = disk_use()
        if used > self.limits["disk_bytes"] + OWN_BYTES or files > self.limits["disk_files"] + OWN_FILES:
            self.reason = "disk_limit"
            is_files = files > self.limits["disk_files"] + OWN_FILES
            self.found = {"over": "files" if is_files else "bytes", "reached": files if is_files else used}
            signal_all(signal.SIGKILL)

    def reap(self) -> bool:
        """Take what has died; True once the user's own process has."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.child:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def end(self) -> None:
        """Kill what is left, take its last words, open what it closed; then nobody but us is there."""
        full = self._full_place()
        while True:
            signal_all(signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        for pipe in list(self.pipes):
            while self.read(pipe) and not self._is_drained(pipe):
                pass
            os.close(pipe)
        self.pipes.clear()
        open_to_reader(OUT)
        code = self.status if self.status is not None else -9
        if self.reason == "exited" and self.stop:
            self.reason = "timeout" if self.stop == "timeout" else "stopped"
        if self.reason == "exited" and code != 0 and full:
            self.reason, self.found = "disk_limit", full
        times = os.times()
        self.ended = {
            "reason": self.reason,
            **self.found,
            "stop": self.stop,
            "exit_code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "wall_seconds": time.monotonic() - self.started_at,
            "cpu_seconds": times.children_user + times.children_system,
            "log_bytes": self.log_bytes,
        }

    def _is_drained(self, pipe: int) -> bool:
        """Everything that could write is dead, so an empty pipe stays empty."""
        import select

        return not select.select([pipe], [], [], 0)[0]

    def _full_place(self) -> dict[str, Any]:
        for place in PLACES:
            seen = os.statvfs(place)
            if seen.f_bavail * seen.f_frsize < FULL_BYTES:
                return {"over": "bytes", "place": place}
            if seen.f_favail == 0:
                return {"over": "files", "place": place}
        return {}


def main() -> NoReturn:
    from _mecapy_guest import confine, quickjson

    confine.hide_from_children()
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    log = os.memfd_create("log")
    link = Link(os.open(OUT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), log)
    order = quickjson.loads(confine.take_arguments())
    watch = ContainerRun(order, link, log)
    if not order["wait"]:
        watch.start(confine)
    link.look(watch.state())
    _serve(watch, confine, wake_read)


def _serve(watch: ContainerRun, confine: ModuleType, wake_read: int) -> NoReturn:
    from select import POLLHUP, POLLIN, poll

    while True:
        waiter = poll()
        for fd in (wake_read, watch.link.fileno(), *watch.pipes):
            if fd >= 0:
                waiter.register(fd, POLLIN | POLLHUP)
        ready = {fd for fd, _event in waiter.poll(LOOK_MILLISECONDS)}
        if wake_read in ready:
            os.read(wake_read, 4096)
        watch.read_all(ready)
        if watch.link.fileno() in ready:
            for message in watch.link.hear():
                _obey(watch, confine, message)
        watch.look_after()
        watch.link.look(watch.state())


def _obey(watch: ContainerRun, confine: ModuleType, message: dict[str, Any]) -> None:
    if "bye" in message:
        signal_all(signal.SIGKILL)
        os._exit(0)
    if "order" in message and not watch.child:
        watch.order = message["order"]
        watch.limits = watch.order["limits"]
        watch.start(confine)
    if "stop" in message:
        watch.ask_to_stop(message["stop"])
    if "kill" in message and watch.ended is None:
        watch.reason = message["kill"]
        signal_all(signal.SIGKILL)


def _be_the_user(confine: ModuleType, order: dict[str, Any], ends: dict[int, int]) -> NoReturn:
    """Never returns: becomes the process that runs the user's code, with nothing of ours open."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        for number, end in ends.items():
            os.dup2(end, number)
        os.closerange(3, 1024)
        os.setsid()
        confine.prefer_for_oom()
        confine.restrict()
        if order["argv"]:
            _execute(order)
        from _mecapy_guest import runner

        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.modules["__main__"] = type(sys)("__main__")  # what `multiprocessing` would start again in its children
        code = runner.main(order["guest"])
    finally:
        os._exit(code)


def _execute(order: dict[str, Any]) -> NoReturn:
    """A program of the image. What is wrong with it is the user's to read."""
    from _mecapy_guest import quickjson

    with open(f"{OUT}/files/list.json", "w", encoding="utf-8") as file:
        file.write(quickjson.dumps(order["files"]))
    argv = order["argv"]
    try:
        os.chdir(order["folder"])
        os.execvpe(argv[0], argv, order["environment"])  # noqa: S606 - no shell is the point
    except OSError as error:
        record = {
            "error": f"{argv[0]} cannot be started: {error.strerror}",
            "type": "EntrypointError",
            "ts": time.time(),
        }
        with open(f"{OUT}/_error.json", "w", encoding="utf-8") as file:
            file.write(quickjson.dumps(record))
    os._exit(127)


def disk_use() -> tuple[int, int]:
    """Bytes and files in all writable places together."""
    used = files = 0
    for place in PLACES:
        seen = os.statvfs(place)
        used += (seen.f_blocks - seen.f_bfree) * seen.f_frsize
        files += seen.f_files - seen.f_ffree - 1
    return used, files


def signal_all(number: int) -> None:
    try:
        os.kill(-1, number)
    except ProcessLookupError:
        pass


def open_to_reader(folder: str, depth: int = 0) -> None:
    """Make what was left readable to the worker's user, following no link. Everything that could interfere is dead."""
    try:
        os.chmod(folder, 0o755)  # noqa: S103 - read by the worker's user through a descriptor
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if depth < MAX_DEPTH:
                        open_to_reader(entry.path, depth + 1)
                elif (
                    entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mode & 0o444 != 0o444
                ):
                    os.chmod(entry.path, 0o644)
    except OSError:
        pass


if __name__ == "__main__":
    main()
