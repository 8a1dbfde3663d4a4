"""A registry that lies, breaks off, drips and redirects as it is told: a server of the tests' own, on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Answer = Callable[["Handler"], bool]
"""Answers a request, or says that it did not."""


@dataclass(slots=True, kw_only=True)
class HostileRegistry:
    """Holds `blobs` by digest and `manifests` by reference (media type, bytes). `tricks` are asked first, in order."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tricks: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        outer = self

        class Bound(Handler):
            pass

        Bound.registry = outer

        self._server = QuietServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def host(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.server_address[1]}"

    def add_blob(self, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def add_manifest(self, document: dict[str, Any], tag: str = "") -> str:
        data = json.dumps(document).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        for name in filter(None, (digest, tag)):
            self.manifests[name] = (str(document.get("mediaType", "application/vnd.oci.image.manifest.v1+json")), data)
        return digest

    def asked(self, part: str) -> list[dict[str, str]]:
        """The headers of the requests whose path has `part`."""
        return [headers for _, path, headers in self.requests if part in path]


class QuietServer(ThreadingHTTPServer):
    """Whose clients may leave whenever they like."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    registry: HostileRegistry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.registry.requests.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
        try:
            if any(trick(self) for trick in self.registry.tricks):
                return
            self.serve()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_GET

    def serve(self) -> None:
        """As an honest registry does."""
        name = self.path.partition("?")[0].rpartition("/")[2]
        if self.command in ("POST", "PUT"):
            self.take(name)
            return
        if "/manifests/" in self.path and name in self.registry.manifests:
            media_type, data = self.registry.manifests[name]
            self.answer(200, data, media_type)
        elif "/blobs/" in self.path and name in self.registry.blobs:
            self.answer(200, self.registry.blobs[name])
        else:
            self.answer(404, b"")

    def take(self, name: str) -> None:
        """An upload begins, a blob comes, a manifest comes."""
        data = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.command == "POST":
            self.answer(202, b"", location=f"{self.path.rstrip('/')}/1")
        elif "/manifests/" in self.path:
            self.registry.manifests[name] = (self.headers.get("content-type", ""), data)
            self.answer(201, b"")
        else:
            self.registry.add_blob(data)
            self.answer(201, b"")

    def answer(self, status: int, data: bytes, media_type: str = "application/octet-stream", **headers: str) -> None:
        self.start(status, len(data), media_type, **headers)
        self.wfile.write(data)

    def start(self, status: int, length: int | None, media_type: str = "application/octet-stream", **headers: str) -> None:
        """The head of an answer; `length` None: until the connection ends."""
        self.send_response(status)
        self.send_header("content-type", media_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is None:
            self.send_header("connection", "close")
            self.close_connection = True
        else:
            self.send_header("content-length", str(length))
        self.end_headers()

    def cut(self) -> None:
        """Ends the connection where it is."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        pass
