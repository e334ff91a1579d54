"""A small real HTTP server that speaks the documented shapes, for tests of the client and the command line."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "good-token"
TASK_ID = "0190f000-0000-7000-8000-000000000001"
STRESS = {"name": "Stress", "kind": "physical", "category": "mechanics", "unit": "Pa", "parent": "Float"}
TYPES = [
    STRESS,
    {"name": "Force", "kind": "physical", "category": "mechanics", "unit": "N", "parent": "Float"},
    {
        "name": "Force3",
        "kind": "composite",
        "category": "mechanics",
        "unit": None,
        "element_type": "Force",
        "length": 3,
    },
]
FUNCTION = {
    "id": "fv-1",
    "name": "size",
    "version": "1.2.0",
    "checksum": "0",
    "status": "ready",
    "created_at": "2026-01-01T00:00:00Z",
    "io_spec": {
        "inputs": {"diameter": {"type": "Length"}},
        "outputs": {"stress": {"type": "Stress"}, "reactions": {"type": "Force3"}},
    },
}
PACKAGE = {
    "id": "p-1",
    "name": "bolts",
    "version": "1.2.0",
    "status": "ready",
    "functions": [FUNCTION],
    "organization_slug": None,
}


def task(state: str = "completed", **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "id": TASK_ID,
        "name": None,
        "state": state,
        "lane": "high_priority",
        "priority": 5,
        "package": {"id": "p-1", "name": "bolts", "version": "1.2.0", "owner": None},
        "function": "size",
        "function_id": "fv-1",
        "inputs": {},
        "created_at": "2026-01-01T00:00:00Z",
        "attempts": [],
        "error": None,
        "usage": {"wall_seconds": 0.5, "cpu_seconds": 0.4, "peak_memory_mb": 33.0},
        "waiting": None,
        "parked": False,
        "a_field_of_the_future": 1,
    }
    return base | more


def problem(status: int, code: str, detail: Any, errors: Any = ()) -> tuple[int, dict[str, Any]]:
    return status, {
        "type": "about:blank",
        "title": code,
        "status": status,
        "code": code,
        "detail": detail,
        "errors": list(errors),
    }


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class FakePlatform:
    """Answers by `METHOD path-pattern`: (status, JSON or bytes[, headers]), or a function of the request."""

    url: str = ""
    routes: dict[str, Any] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    breaks: Counter[str] = field(default_factory=Counter)  # "METHOD path" -> how often to hang up without an answer

    def on(self, route: str, answer: tuple[Any, ...] | Callable[[Seen], tuple[Any, ...]]) -> None:
        self.routes = {route: answer} | {other: given for other, given in self.routes.items() if other != route}

    def answer(self, request: Seen) -> tuple[Any, ...]:
        self.seen.append(request)
        for route, answer in self.routes.items():
            method, _, pattern = route.partition(" ")
            if method == request.method and re.fullmatch(pattern, request.path):
                result: tuple[Any, ...] = answer(request) if callable(answer) else answer
                return result
        return problem(404, "not_found", "There is no such thing.")

    def calls(self, route: str) -> list[Seen]:
        method, _, pattern = route.partition(" ")
        return [item for item in self.seen if item.method == method and re.fullmatch(pattern, item.path)]


@contextmanager
def serve() -> Iterator[FakePlatform]:
    platform = FakePlatform()
    server = _Server(("127.0.0.1", 0), _handler(platform))
    thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    platform.url = f"http://127.0.0.1:{server.server_port}"
    platform.routes = {
        "GET /auth/me": (200, {"preferred_username": "ada", "email": None, "roles": ["user"]}),
        "GET /organizations": (200, {"organizations": [{"slug": "acme", "role": "admin"}], "total": 1}),
        "GET /types/catalog": (200, {"types": TYPES, "categories": ["mechanics"]}),
        "GET /packages": (200, {"packages": [PACKAGE], "total": 1}),
        "GET /packages/p-1": (200, PACKAGE),
        "GET /function-versions/fv-1": (200, FUNCTION),
        "POST /tasks": (201, task()),
        f"GET /tasks/{TASK_ID}": (200, task()),
        f"GET /tasks/{TASK_ID}/result": (200, result({"stress": 1.5e8, "reactions": [1.0, 2.0, 3.0]})),
    }
    try:
        yield platform
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def result(outputs: Any, state: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": TASK_ID,
        "state": state,
        "result": outputs,
        "error": None,
        "usage": task()["usage"],
        "artifacts": [],
    } | more


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the tests."""


def _handler(platform: FakePlatform) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are written apart, and must not wait 40 ms for each other

        def _any(self) -> None:
            parts = urlsplit(self.path)
            body = _body(self)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Seen(self.command, parts.path, query, headers, body)
            key = f"{self.command} {parts.path}"
            if platform.breaks[key] > 0:
                platform.breaks[key] -= 1
                platform.seen.append(request)
                self.close_connection = True
                return
            needs_token = not parts.path.startswith(("/types/", "/storage/", "/.well-known/", "/realms/"))
            if needs_token and headers.get("authorization") != f"Bearer {TOKEN}":
                platform.seen.append(request)
                self._send(*problem(401, "unauthenticated", "No token, or one that cannot be trusted."))
                return
            self._send(*platform.answer(request))

        do_GET = do_PUT = do_POST = _any  # noqa: N815 -- the standard library's names

        def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            announced = {"Content-Length": str(len(body)), **(headers or {})}
            for name, value in announced.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if int(announced["Content-Length"]) != len(body):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, also of one that is streamed in chunks."""
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    whole = b""
    while size := int(handler.rfile.readline(), 16):
        whole += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return whole
