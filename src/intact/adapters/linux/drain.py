"""Takes events out of the kernel's queues in time, and does nothing else: whoever finds out what they mean may be slow.

In: notification groups. Out: what was queued, in order, through a bounded queue of our own. Never resolves a name, never looks at a file.

1. One thread waits for the first event, waits `BATCH_S` more, and takes everything that is queued: the kernel merges what repeats.
2. What nobody has taken yet is bounded by `held_bytes`. Beyond that the newest is dropped, as the kernel does it, and the loss is said.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from dataclasses import dataclass

from . import processes
from .fanotify import Group
from .overlay_marks import Lost, OverlayGroup, Written

BATCH_S = 0.005
HELD_BYTES = 8 << 20
_WRITTEN_BYTES = 256
"""What one `Written` holds of memory, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What was queued at one moment. `buffers` are for `fanotify.parse_events`. `quiet_since_ticks`: all of it happened later than that,
    and earlier than `until_ns` (CLOCK_BOOTTIME). `lost`: how often something was dropped before it."""

    buffers: tuple[bytes, ...]
    written: tuple[Written | Lost, ...]
    quiet_since_ticks: int
    until_ns: int
    lost: int

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

    def close(self) -> None:
        with self._taken:
            self._is_closed = True
            self._taken.notify_all()
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        os.close(self._wake)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._group.descriptor, select.POLLIN)
        if self._overlays is not None:
            poll.register(self._overlays.descriptor, select.POLLIN)
        quiet_since_ticks = processes.ticks_now()
        try:
            while self._wake not in dict(poll.poll()):
                time.sleep(BATCH_S)  # 1
                reading_since_ticks = processes.ticks_now()
                buffers = tuple(self._group.read_buffers())
                written = tuple(self._overlays.read()) if self._overlays is not None else ()
                self._hold(buffers, written, quiet_since_ticks)
                quiet_since_ticks = reading_since_ticks
        except Exception as error:
            with self._taken:
                self._failed = f"{type(error).__name__}: {error}"
                self._taken.notify_all()

    def _hold(self, buffers: tuple[bytes, ...], written: tuple[Written | Lost, ...], quiet_since_ticks: int) -> None:
        with self._taken:
            batch = Batch(
                buffers=buffers, written=written, quiet_since_ticks=quiet_since_ticks, until_ns=processes.now_ns(), lost=self._lost
            )
            if self._batches and self._held_bytes + batch.size_bytes > self._limit_bytes:  # 2
                self._lost += 1
                return
            self._lost = 0
            self._batches.append(batch)
            self._held_bytes += batch.size_bytes
            self._taken.notify_all()
