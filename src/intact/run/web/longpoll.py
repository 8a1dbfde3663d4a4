"""Thousands of nodes waiting for commands, without a thread for each: a waiter sleeps in the event loop until its node is called."""

from __future__ import annotations

import asyncio
import time

from starlette.concurrency import run_in_threadpool

from intact.adapters.seam.ports import ClusterSide, deliverable
from intact.model.seam import Command

LOOK_AGAIN_S = 5.0
"""A waiter asks again this often even if nobody called: commands that become due by themselves are not late by more."""


class LongPoll:
    """Waiters by node. `start` once, in the event loop; `stop` from any thread ends all waits at once."""

    def __init__(self, cluster: ClusterSide) -> None:
        self._cluster = cluster
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._stopping = False
        cluster.when_commanded(self._call_from_thread)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return sum(map(len, self._waiters.values()))

    async def take(self, node: str, wait_s: float) -> tuple[Command, ...]:
        """The node's commands, waiting up to `wait_s` seconds for the first."""
        until = time.monotonic() + wait_s
        called = asyncio.Event()
        self._waiters.setdefault(node, set()).add(called)
        try:
            while True:
                called.clear()
                commands = deliverable(await run_in_threadpool(self._cluster.commands_for, node, 0.0), node, time.time())
                left_s = until - time.monotonic()
                if commands or left_s <= 0 or self._stopping:
                    return commands
                try:
                    async with asyncio.timeout(min(left_s, LOOK_AGAIN_S)):
                        await called.wait()
                except TimeoutError:
                    continue
        finally:
            self._waiters[node].discard(called)
            if not self._waiters[node]:
                del self._waiters[node]

    def stop(self) -> None:
        """Ends all waits; called from another thread."""
        self._stopping = True
        for node in list(self._waiters):
            self._call_from_thread(node)

    def _call_from_thread(self, node: str) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call, node)

    def _call(self, node: str) -> None:
        for called in self._waiters.get(node, ()):
            called.set()
