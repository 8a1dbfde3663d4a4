"""Directories shared out between this process and helpers.

In: directories that are to be read. Out: batches, as they come. Whoever has nothing to read takes a share of what waits, and what is found
below waits for the next. When this ends, however it ends, no helper is left.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from queue import SimpleQueue

from intact.model.digest import Algorithms

from .helper import Helper
from .reading import Batch, DirectoryReader


def share_out(waiting: list[bytes], reader: DirectoryReader, root: int, algorithms: Algorithms, helpers: int) -> Iterator[Batch]:
    """What lies in and below the directories `waiting`, read by `reader` and so many helpers. Raises PermanentError if one of them dies."""
    work = _Work(waiting, 1 + helpers)
    batches: SimpleQueue[Batch | BaseException] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(helpers):
            helper = stack.enter_context(closing(Helper(root, algorithms)))
            thread = threading.Thread(target=_serve, args=(helper, work, batches), name="helper", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(helper.kill)  # before its thread is waited for, should this end early
        stack.callback(work.stop)
        while True:
            if share := work.take_now():
                batch = reader.read(share)
                work.give_back(batch)
            elif work.is_done and batches.empty():
                return
            else:
                batch = _get(batches)
            yield batch
            while not batches.empty():
                yield _get(batches)


def _serve(helper: Helper, work: _Work, batches: SimpleQueue[Batch | BaseException]) -> None:
    """What the thread of one helper does: it waits for the helper, and never computes."""
    try:
        while share := work.take():
            batch = helper.read(share)
            batches.put(batch)
            work.give_back(batch)
    except BaseException as error:
        batches.put(error)


def _get(batches: SimpleQueue[Batch | BaseException]) -> Batch:
    batch = batches.get()
    if isinstance(batch, BaseException):
        raise batch
    return batch


class _Work:
    """The directories that wait, and how many shares are being read."""

    def __init__(self, waiting: list[bytes], readers: int) -> None:
        self._waiting = waiting
        self._readers = readers
        self._busy = 0
        self._is_stopped = False
        self._changed = threading.Condition()

    @property
    def is_done(self) -> bool:
        with self._changed:
            return not self._waiting and not self._busy

    def take_now(self) -> list[bytes]:
        """A share to read; empty if nothing waits."""
        with self._changed:
            return self._take()

    def take(self) -> list[bytes]:
        """The same, as soon as something waits; empty if nothing will."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._busy or self._is_stopped)
            return [] if self._is_stopped else self._take()

    def give_back(self, batch: Batch) -> None:
        """A share has been read; what it found below waits."""
        with self._changed:
            self._waiting += batch.rest
            self._busy -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _take(self) -> list[bytes]:
        size = max(1, len(self._waiting) // (2 * self._readers))
        share, self._waiting = self._waiting[-size:], self._waiting[:-size]
        self._busy += bool(share)
        return share
