"""A stand-in for bootstrap under the real launcher, real PostgreSQL and real Valkey.

`python standin_program.py` takes up's options.
"""

import argparse
import json
import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import urlopen

import psycopg
import redis

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.embedded.content import Ready
from mecapy_platform.embedded.launcher import Launcher, Options
from mecapy_platform.settings import Settings


def show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"uid": os.getuid(), "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Program:
    def migrate(self, settings: Settings) -> None:
        with psycopg.connect(settings.database_owner_url.replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS starts (uid int)")
            connection.execute("INSERT INTO starts VALUES (%s)", [os.getuid()])

    def run_api(self, settings: Settings, listener: socket.socket) -> None:
        server = HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        server.serve_forever()

    def run_relay(self, settings: Settings) -> None:
        redis.Redis.from_url(settings.broker_url).ping()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.pause()

    def run_worker(self, settings: Settings, lanes: tuple[str, ...]) -> None:
        marks = settings.data_dir / f"worker-{lanes[0]}"
        marks.write_text("working")

        def drain(*_: object) -> None:
            marks.write_text("drained")
            sys.exit(0)

        signal.signal(signal.SIGTERM, drain)
        show(f"worker for {lanes}")
        while True:
            signal.pause()

    def wait_ready(self, settings: Settings) -> None:
        with urlopen(settings.public_url) as answer:
            assert answer.status == 200


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--ready-file", type=Path)
    arguments = parser.parse_args()
    options = Options(data=arguments.data, port=arguments.port, ready_file=arguments.ready_file)

    def greet(ready: Ready) -> None:
        show(f"ready at {ready.url}")

    try:
        Launcher(options, Program, show).run(greet)
    except MecapyError as error:
        show(error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
