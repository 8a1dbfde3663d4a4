"""A keyed work queue: each key is worked on by one worker at a time, and what fails comes back later.

In: keys, from any thread. Out: keys that are due, one worker each. A key added any number of times before it is taken is taken once; one
added while it is worked on is taken again afterwards. Keeps keys only, no work: whoever takes a key reads the state as it is then.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 300.0


class WorkQueue(Generic[K]):
    """Thread-safe. `clock` gives seconds that never go back; tests give their own and call `take`, which never waits."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._due_at: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._closed = False

    def add(self, key: K, after_s: float = 0.0) -> None:
        """`key` is to be worked on in `after_s` seconds, or earlier if that was wished before."""
        with self._changed:
            due_at = self._clock() + after_s
            known = self._due_at.get(key)
            if known is not None and known <= due_at:
                return
            self._due_at[key] = due_at
            self._order += 1
            heapq.heappush(self._heap, (due_at, self._order, key))
            self._changed.notify()

    def take(self) -> K | None:
        """The key that is due for the longest time and that nobody works on; None if there is none now. Call `done` or `failed` after."""
        with self._changed:
            return self._take()

    def get(self, timeout_s: float) -> K | None:
        """As `take`, but waits up to `timeout_s` seconds. None also when the queue was closed."""
        deadline = self._clock() + timeout_s
        with self._changed:
            while not self._closed:
                key = self._take()
                now = self._clock()
                if key is not None or now >= deadline:
                    return key
                next_due = self._heap[0][0] if self._heap else deadline
                self._changed.wait(max(0.0, min(next_due, deadline) - now))
            return None

    def done(self, key: K) -> None:
        """The work on `key` succeeded."""
        with self._changed:
            self._failures.pop(key, None)
            self._finish(key)

    def failed(self, key: K) -> float:
        """The work on `key` failed: it is due again after a time that doubles with each failure in a row. Returns that time in seconds."""
        with self._changed:
            count = self._failures.get(key, 0)
            self._failures[key] = count + 1
            after_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(count, 20))
            self.add(key, after_s)
            self._finish(key)
            return after_s

    def close(self) -> None:
        """Wakes every `get`, which then returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._due_at)

    def _finish(self, key: K) -> None:
        self._working.discard(key)
        if key in self._due_at:
            self._order += 1
            heapq.heappush(self._heap, (self._due_at[key], self._order, key))
        self._changed.notify()

    def _take(self) -> K | None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due_at, _, key = heapq.heappop(self._heap)
            # An entry that is not the key's latest wish is stale; one that is being worked on comes back when that is finished.
            if self._due_at.get(key) != due_at or key in self._working:
                continue
            del self._due_at[key]
            self._working.add(key)
            return key
        return None
