"""Runs an iterator in a thread of its own, a few items ahead of its consumer: reading, decompressing and hashing a layer on one core
while its members are read on another. An error travels to the consumer; a consumer that stops early stops the thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue

AHEAD = 4
"""Items held between the two."""
_POLL_S = 0.2


def run_ahead(items: Iterable[bytes]) -> Iterator[bytes]:
    """The same items, in order, produced in a thread."""
    queue: Queue[bytes | BaseException | None] = Queue(AHEAD)
    stopped = threading.Event()

    def put(item: bytes | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=_POLL_S)
                return True
            except Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=produce, name="layer", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = queue.get(timeout=_POLL_S)
            except Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
