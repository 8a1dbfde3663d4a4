"""No request holds the server longer than a bound, whoever is slow: the client that sends, the client that reads, or we."""

from __future__ import annotations

import asyncio

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problem import problem

log = structlog.get_logger()

REQUEST_TIMEOUT_S = 120.0
"""More than the longest wait for commands plus any body; a baseline of 100 MiB needs 7 Mbit/s."""


class Deadline:
    """ASGI middleware: after `timeout_s` the request ends with 503, or with a cut connection if the answer had begun."""

    def __init__(self, app: ASGIApp, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_on(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._timeout_s):
                await self._app(scope, receive, send_on)
        except TimeoutError:
            log.warning("request_too_slow", path=scope["path"], timeout_s=self._timeout_s)
            if begun:
                raise
            await problem(503, code="SlowRequest", detail=f"not done within {self._timeout_s:.0f} s")(scope, receive, send)
