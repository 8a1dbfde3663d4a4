"""The API under uvicorn, in a thread of its own: TLS, bounded connections, a clean start and a clean stop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from intact.model.errors import PermanentError, TemporaryError

HEADERS_TIMEOUT_S = 10.0
"""From an open connection, or the first byte of a further request, to its complete headers."""
MAX_CONNECTIONS = 10_000
STOP_TIMEOUT_S = 10.0


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with the one bound it lacks: how long a client may take to say what it wants."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """An idle connection is cut: TLS's polite close waits for the client, and idle clients do not answer."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            super().shutdown()

    def _watch(self) -> None:
        """Counts down while headers are incomplete; a timer that runs is never set back by another byte."""
        if self.conn.their_state is not h11.IDLE:
            self._calm()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADERS_TIMEOUT_S, self._hang_up)

    def _calm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        self._deadline = None
        self.transport.abort()


class ApiServer:
    """Serves `app` on `host`:`port` (0: any free one) from `start` to `stop`."""

    def __init__(self, app: FastAPI, *, host: str, port: int, certificate: Path, key: Path) -> None:
        self._app = app
        self._certificate = certificate
        self._key = key
        self._context = _make_context()
        self.reload_certificate()
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            lifespan="on",
            ssl_context_factory=self._give_context,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(STOP_TIMEOUT_S / 2),
            h11_max_incomplete_event_size=32 << 10,
            server_header=False,
            access_log=False,
            log_config=None,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="api", daemon=True)

    def start(self, timeout_s: float = 10.0) -> None:
        """Returns when the API answers. Raises TemporaryError if it does not within `timeout_s`."""
        self._thread.start()
        until = time.monotonic() + timeout_s
        while not self._server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                raise TemporaryError(f"the API did not start within {timeout_s:.0f} s; the log says why", code="ApiNotStarted")
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends waits for commands, lets running requests end for a few seconds, closes the rest."""
        self._server.should_exit = True
        self._app.state.polls.stop()
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise TemporaryError(f"the API did not stop within {2 * STOP_TIMEOUT_S:.0f} s", code="ApiNotStopped")
        self._socket.close()

    def is_alive(self) -> bool:
        """Whether the server's thread still runs."""
        return self._thread.is_alive()

    def reload_certificate(self) -> None:
        """Reads certificate and key again: connections opened from now on get them."""
        try:
            self._context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise PermanentError(f"cannot serve with {self._certificate} and its key: {error}", code="BadCertificate") from error

    def _give_context(self, config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        return self._context


def _make_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bind(host: str, port: int) -> socket.socket:
    family: Any = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY: without it each answer waits 40 ms for the client's delayed ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise PermanentError(f"cannot listen on {host}:{port}: {error.strerror}", code="CannotListen") from error
    return listening
