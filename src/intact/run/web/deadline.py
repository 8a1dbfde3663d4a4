"""No request holds the server longer than a bound, whoever is slow: the client that sends, the client that reads, or we."""

from __future__ import annotations

import asyncio

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problem import problem

log = structlog.get_logger()

ANSWER_TIMEOUT_S = 90.0
"""Until an answer begins: more than the longest wait for commands."""
STALL_TIMEOUT_S = 30.0
"""Between two pieces of an answer that has begun."""


class Deadline:
    """ASGI middleware: a request without an answer ends with 503, an answer without progress with a cut connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        begun = False

        async def send_on(message: Message) -> None:
            nonlocal begun
            begun = True
            limit.reschedule(loop.time() + STALL_TIMEOUT_S)
            await send(message)

        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S) as limit:
                await self._app(scope, receive, send_on)
        except TimeoutError:
            log.warning("request_too_slow", path=scope["path"], begun=begun)
            if begun:
                raise
            await problem(503, code="SlowRequest", detail=f"no answer within {ANSWER_TIMEOUT_S:.0f} s")(scope, receive, send)
