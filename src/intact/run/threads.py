"""Threads of a process of which none may end by an error while the others go on as if nothing had happened."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger()

JOIN_S = 5.0


class Threads:
    """Daemon threads whose end by an error sets `stop`: it is the end of the process."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._threads: list[threading.Thread] = []

    def start(self, name: str, work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException:
                log.exception("thread_died", thread=name)
                self._stop.set()
                raise

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def join(self, timeout_s: float = JOIN_S) -> None:
        """Waits for each of them, so long at most."""
        for thread in self._threads:
            thread.join(timeout_s)
