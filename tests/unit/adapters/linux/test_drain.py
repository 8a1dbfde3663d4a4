"""What does not fit into the queue before the one who follows events is counted, event by event."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from typing import cast

from intact.adapters.linux.drain import Drain
from intact.adapters.linux.fanotify import Group

EVENT = struct.Struct("<IBBHQii")


class Fed:
    """A queue of the kernel into which the test puts events."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC)
        self._events = 0
        self._taken = threading.Condition()

    def put(self, events: int) -> None:
        """Returns when they were read."""
        with self._taken:
            self._events = events
            os.eventfd_write(self.descriptor, 1)
            assert self._taken.wait_for(lambda: not self._events, 60)

    def read_buffers(self) -> Iterator[bytes]:
        with self._taken:
            os.eventfd_read(self.descriptor)
            events, self._events = self._events, 0
            self._taken.notify_all()
        yield EVENT.pack(EVENT.size, 3, 0, EVENT.size, 2, -1, 1) * events


def test_each_event_that_was_dropped_is_counted_and_the_rest_is_there() -> None:
    fed = Fed()
    drain = Drain(cast(Group, fed), None, held_bytes=100 * EVENT.size)
    try:
        for events in (60, 30, 20, 500, 7):  # when it comes for the last, all before it are held or dropped
            fed.put(events)
        held = [drain.take() for _ in range(3)]
    finally:
        drain.close()
        os.close(fed.descriptor)
    assert [(len(batch.buffers[0]) // EVENT.size, batch.lost) for batch in held if batch is not None] == [
        (60, 0),
        (30, 0),
        (7, 520),
    ]
