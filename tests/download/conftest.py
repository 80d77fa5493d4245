"""A server in a thread that behaves as badly as it is told to."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Behaviour:
    """What the server has and how it answers; tests change it while it runs."""

    content: bytes = bytes(range(256)) * 1200  # 300 kB
    etag: str = '"one"'
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes that the next answers send before the line is cut
    statuses: list[int] = field(default_factory=list)  # of the next answers
    requests: list[str | None] = field(default_factory=list)  # the Range of each request
    address: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    """Start the server on a free port of this machine."""
    monkeypatch.setenv("no_proxy", "*")
    behaviour = Behaviour()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            behaviour.requests.append(wanted)
            if behaviour.statuses:
                self.send_error(behaviour.statuses.pop(0))
                return
            start = 0
            if wanted and behaviour.ranges and self.headers.get("If-Range", behaviour.etag) == behaviour.etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(behaviour.content) and start:
                self.send_error(416)
                return
            body = behaviour.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", behaviour.etag)
            self.send_header("Content-Length", str(len(body)))
            if start:
                end = len(behaviour.content)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
            self.end_headers()
            self.wfile.write(body[: behaviour.cut_after.pop(0)] if behaviour.cut_after else body)

        def log_message(self, format: str, *values: object) -> None:  # noqa: A002
            """Say nothing."""

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    behaviour.address = f"http://127.0.0.1:{http_server.server_address[1]}/file.zip"
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield behaviour
    http_server.shutdown()
    http_server.server_close()
    thread.join()
