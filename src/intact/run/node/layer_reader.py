"""Read-only layers, read in the background: each once for all containers that use it, again when something touched it or a day is over.

In: directories and the tables they must equal. Out: what differs, and what could not be read. One thread, throttled by whoever reads.

A layer that was read in full and had no difference is not read in full again before a day is over: when it is touched, and after a restart,
only those of its files are read whose status changed since (`observe.settled`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from intact.compare.differ import compare_layer
from intact.model.container import Running
from intact.model.digest import SHA256, Algorithms
from intact.model.errors import IntactError
from intact.model.finding import Difference
from intact.model.layer import LayerTable, Record
from intact.model.observation import Unobserved
from intact.observe.settled import Settled

from .layer_memory import LayerMemory

EVERY_S = 86_400.0
"""A layer is read again after this time, whatever rang: what changed on the disk below the file system rings nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was found in a container's layers; `at` is when the oldest of them was read."""

    differences: tuple[Difference, ...]
    unobserved: tuple[Unobserved, ...]
    at: float


@dataclass(frozen=True, slots=True)
class _Read:
    """`at` is when it was last read in full."""

    differences: tuple[Difference, ...]
    at: float
    touches: int


class ReadLayer(Protocol):
    """Yields what one directory holds, hashed by the given algorithms; of what is `settled`, only what may have changed since."""

    def __call__(
        self, running: Running, directory: bytes, algorithms: Algorithms, settled: Settled | None = None, /
    ) -> Iterator[Record | Unobserved]: ...


class LayerReader:
    """`submit` and `touch` from any thread. `memory`: what was read before a restart."""

    def __init__(self, read: ReadLayer, clock: Callable[[], float], memory: LayerMemory | None = None) -> None:
        self._read, self._clock, self._memory = read, clock, memory
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="layers")
        self._lock = threading.Lock()
        self._known: dict[tuple[bytes, str], _Read] = {}
        self._touches: Counter[bytes] = Counter()

    def submit(self, running: Running, layers: Iterable[tuple[bytes, LayerTable]], then: Callable[[Reading | BaseException], None]) -> None:
        """Reads `layers` of `running` as soon as it is their turn, and calls `then` from the worker's thread."""
        pairs = tuple(layers)

        def work() -> None:
            try:
                then(self._read_all(running, pairs))
            except BaseException as error:
                then(error)
                raise

        self._worker.submit(work)

    def touch(self, directory: bytes) -> None:
        """Something in `directory` may have changed: what was read of it, or is being read, does not count any more."""
        with self._lock:
            self._touches[directory] += 1

    def forget(self, directories: Iterable[bytes]) -> None:
        """No container uses them any more."""
        gone = set(directories)
        with self._lock:
            for key in [key for key in self._known if key[0] in gone]:
                del self._known[key]
            for directory in gone:
                self._touches.pop(directory, None)

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _read_all(self, running: Running, pairs: tuple[tuple[bytes, LayerTable], ...]) -> Reading:
        differences: list[Difference] = []
        unobserved: list[Unobserved] = []
        oldest = self._clock()
        for directory, table in pairs:
            try:
                known = self._read_one(running, directory, table)
            except (IntactError, OSError, ValueError) as error:  # ValueError: its order changed while it was read
                unobserved.append(Unobserved(path=b"/", reason=f"layer {table.diff_id}: {error}"))
                continue
            differences += known.differences
            oldest = min(oldest, known.at)
        return Reading(differences=tuple(differences), unobserved=tuple(unobserved), at=oldest)

    def _read_one(self, running: Running, directory: bytes, table: LayerTable) -> _Read:
        key = (directory, str(table.root))
        now = self._clock()
        with self._lock:
            known, touches = self._known.get(key), self._touches[directory]
        if known is not None and known.touches == touches and now - known.at < EVERY_S:
            return known
        deciding = Algorithms((table.algorithms or SHA256).deciding)
        settled = self._settle(directory, table, known, now)
        records = self._read(running, directory, deciding, settled) if settled else self._read(running, directory, deciding)
        fresh = _Read(tuple(compare_layer(table, records)), settled.verified_at if settled else now, touches)
        table.release()
        with self._lock:
            self._known[key] = fresh
        if self._memory is not None and fresh.differences:
            self._memory.forget(directory, str(table.root))
        elif self._memory is not None and settled is None:
            self._memory.note(directory, str(table.root), now)
        return fresh

    def _settle(self, directory: bytes, table: LayerTable, known: _Read | None, now: float) -> Settled | None:
        """Since when only its changes need be read; None if all of it must be."""
        if known is not None:
            return Settled(table, known.at) if not known.differences and 0 <= now - known.at < EVERY_S else None
        at = self._memory.find(directory, str(table.root), now) if self._memory is not None else None
        return Settled(table, at) if at is not None else None
