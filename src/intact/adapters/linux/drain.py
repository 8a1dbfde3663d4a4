"""Takes events out of the kernel's queues in time, and does nothing else: whoever finds out what they mean may be slow.

In: notification groups. Out: what was queued, in order, through a bounded queue of our own. Never resolves a name, never looks at a file.

1. One thread waits for the first event, waits `BATCH_S` more, and takes everything that is queued: the kernel merges what repeats.
   While something comes again as soon as it has read, for `BUSY_AFTER` times in a row, it lets `BUSY_BATCH_S` of it gather.
2. What nobody has taken yet is bounded by `held_bytes`. Beyond that the newest is dropped, as the kernel does it, counted and said.
3. Whoever asks gets everything that is queued at that moment, at once: the batch that ends it says so.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from dataclasses import dataclass

from . import processes
from .fanotify import Group, count_events
from .overlay_marks import Lost, OverlayGroup, Written

BATCH_S = 0.005
BUSY_BATCH_S = 0.025
BUSY_AFTER = 10
PAUSE_S = 0.02
"""Whoever has nothing to say for so long begins anew: what comes then is read after `BATCH_S`."""
HELD_BYTES = 8 << 20
_WRITTEN_BYTES = 256
"""What one `Written` holds of memory, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What was queued at one moment. `buffers` are for `fanotify.parse_events`. `quiet_since_ticks`: all of it happened later than that,
    and earlier than `until_ns` (CLOCK_BOOTTIME). `lost`: how many events were dropped before it. With it and those before it everything
    is there that was queued when `Drain.ask` returned the number `answers`."""

    buffers: tuple[bytes, ...]
    written: tuple[Written | Lost, ...]
    quiet_since_ticks: int
    until_ns: int
    lost: int
    answers: int = 0

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.buffers)) + _WRITTEN_BYTES * len(self.written)


class Drain:
    """Begins at once. `overlays` is there where writes are heard from overlays."""

    def __init__(self, group: Group, overlays: OverlayGroup | None, *, held_bytes: int = HELD_BYTES) -> None:
        self._group, self._overlays, self._limit_bytes = group, overlays, held_bytes
        self._taken = threading.Condition()
        self._batches: deque[Batch] = deque()
        self._held_bytes = 0
        self._lost = 0
        self._asked = self._answered = 0
        self._failed: str | None = None
        self._is_closed = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="doorbell-drain", daemon=True)
        self._thread.start()

    def take(self) -> Batch | None:
        """The oldest batch, as soon as there is one; None after `close`. Raises RuntimeError if draining has failed."""
        with self._taken:
            while not self._batches and self._failed is None and not self._is_closed:
                self._taken.wait()
            if self._failed is not None:
                raise RuntimeError(self._failed)
            if self._is_closed:
                return None
            batch = self._batches.popleft()
            self._held_bytes -= batch.size_bytes
            return batch

    def ask(self) -> int:
        """3. Wants a batch now; the number that it, or one after it, will answer. For one thread."""
        self._asked += 1
        os.eventfd_write(self._wake, 1)
        return self._asked

    def close(self) -> None:
        with self._taken:
            self._is_closed = True
            self._taken.notify_all()
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        os.close(self._wake)

    def _run(self) -> None:
        poll, asking = select.poll(), select.poll()
        for waiting in (poll, asking):
            waiting.register(self._wake, select.POLLIN)
        poll.register(self._group.descriptor, select.POLLIN)
        if self._overlays is not None:
            poll.register(self._overlays.descriptor, select.POLLIN)
        quiet_since_ticks = processes.ticks_now()
        try:
            waited_since, in_a_row = time.monotonic(), 0
            while True:
                ready = dict(poll.poll())
                if self._is_closed:
                    return
                if self._wake in ready:
                    os.eventfd_read(self._wake)  # 3
                else:
                    in_a_row = in_a_row + 1 if time.monotonic() - waited_since < PAUSE_S else 0
                    asking.poll(1000 * (BATCH_S if in_a_row < BUSY_AFTER else BUSY_BATCH_S))  # 1
                asked, reading_since_ticks = self._asked, processes.ticks_now()
                buffers = tuple(self._group.read_buffers())
                written = tuple(self._overlays.read()) if self._overlays is not None else ()
                if buffers or written or asked > self._answered:
                    self._hold(buffers, written, quiet_since_ticks, asked)
                quiet_since_ticks = reading_since_ticks
                waited_since = time.monotonic()
        except Exception as error:
            with self._taken:
                self._failed = f"{type(error).__name__}: {error}"
                self._taken.notify_all()

    def _hold(self, buffers: tuple[bytes, ...], written: tuple[Written | Lost, ...], quiet_since_ticks: int, asked: int) -> None:
        with self._taken:
            batch = Batch(
                buffers=buffers,
                written=written,
                quiet_since_ticks=quiet_since_ticks,
                until_ns=processes.now_ns(),
                lost=self._lost,
                answers=asked,
            )
            if self._batches and self._held_bytes + batch.size_bytes > self._limit_bytes:  # 2
                self._lost += max(1, sum(map(count_events, buffers)) + len(written))
                return
            self._lost, self._answered = 0, asked
            self._batches.append(batch)
            self._held_bytes += batch.size_bytes
            self._taken.notify_all()
