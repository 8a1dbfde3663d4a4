"""Read-only layers, read in the background: each once for all containers that use it, again when something touched it or a day is over.

In: directories and the tables they must equal. Out: what differs, and what could not be read. One thread, throttled by whoever reads.

1. What a container executes now is read before anything else, also in the midst of another container's layers: between two files.
2. The rest follows, container by container.
3. A layer that was read in full and had no difference is not read in full again before a day is over: when it is touched, and after a
   restart, only those of its files are read whose status changed since (`observe.settled`).
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from intact.compare.differ import compare_layer
from intact.model.container import Running
from intact.model.digest import SHA256, Algorithms
from intact.model.entry import Kind
from intact.model.errors import IntactError
from intact.model.finding import Change, Difference
from intact.model.layer import LayerTable, Record
from intact.model.observation import Unobserved
from intact.observe.settled import Settled

from .layer_memory import LayerMemory
from .layer_progress import Followed, Part, Progress, measure
from .ports import LayerEyes

EVERY_S = 86_400.0
"""A layer is read again after this time, whatever rang: what changed on the disk below the file system rings nothing."""

Pair = tuple[bytes, LayerTable]
"""A layer's directory, and what it must equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was found in a container's layers; `at` is when the oldest of them was read. `paths`: only these were read so far, None for
    all."""

    differences: tuple[Difference, ...]
    unobserved: tuple[Unobserved, ...]
    at: float
    paths: frozenset[bytes] | None = None


Then = Callable[[Reading | BaseException], None]


@dataclass(frozen=True, slots=True)
class _Read:
    """`at` is when it was last read in full, `unread_bytes` what of it could not be."""

    differences: tuple[Difference, ...]
    at: float
    touches: int
    unread_bytes: int


class _Closed(Exception):
    """Nobody waits for what is being read any more."""


class LayerReader:
    """`submit`, `touch`, `forget` and `count_unverified` from any thread. `memory`: what was read before a restart."""

    def __init__(self, eyes: LayerEyes, clock: Callable[[], float], memory: LayerMemory | None = None) -> None:
        self._eyes, self._clock, self._memory = eyes, clock, memory
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="layers")
        self._is_closed = False
        self._urgent: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._known: dict[tuple[bytes, str], _Read] = {}
        self._progress: dict[tuple[bytes, str], Progress] = {}
        self._touches: Counter[bytes] = Counter()

    def submit(self, running: Running, layers: Iterable[Pair], then: Then) -> None:
        """Reads `layers` of `running`, the uppermost first, as soon as it is their turn, and calls `then` from the worker's thread: with
        all of them, and before that with what the container executes, if that differs."""
        pairs = tuple(layers)
        self._urgent.put(lambda: _hand(lambda: self._read_executed(running, pairs), then))
        self._worker.submit(self._read_urgent)
        self._worker.submit(lambda: _hand(lambda: self._read_all(running, pairs), then))

    def touch(self, directory: bytes) -> None:
        """Something in `directory` may have changed: what was read of it, or is being read, does not count any more."""
        with self._lock:
            self._touches[directory] += 1

    def forget(self, directories: Iterable[bytes]) -> None:
        """No container uses them any more."""
        gone = set(directories)
        with self._lock:
            for known in (self._known, self._progress):
                for key in [key for key in known if key[0] in gone]:
                    del known[key]
            for directory in gone:
                self._touches.pop(directory, None)

    def count_unverified(self, layers: Iterable[Pair]) -> int | None:
        """The bytes that have still to be read, or could not be; None before that is known."""
        now, left = self._clock(), 0
        with self._lock:
            for directory, table in layers:
                key = directory, str(table.root)
                progress, known = self._progress.get(key), self._find_fresh(key, now)
                if known is not None:
                    left += known.unread_bytes
                elif progress is not None:
                    left += progress.left_bytes(self._touches[directory])
                else:
                    return None
        return left

    def close(self) -> None:
        """What is being read is given up: the end of the process would wait for it."""
        self._is_closed = True
        self._worker.shutdown(wait=False, cancel_futures=True)

    # -- 1 -----------------------------------------------------------------------------------------------------------

    def _read_urgent(self) -> None:
        while not self._urgent.empty():
            self._urgent.get()()

    def _read_executed(self, running: Running, pairs: tuple[Pair, ...]) -> Reading | None:
        """None if nothing differs. What cannot be read is left to the reading of all, which says so."""
        now = self._clock()
        due = [pair for pair in pairs if self._start(pair, now) is not None]
        if not due:
            return None
        differences: list[Difference] = []
        read: set[bytes] = set()
        for pair, paths in _assign(pairs, self._eyes.list_executed(running)):
            if pair not in due:
                continue
            try:
                found = self._read_files(running, pair, paths, now)
            except (IntactError, OSError, ValueError):
                continue
            differences += found
            read |= paths
        return Reading(differences=tuple(differences), unobserved=(), at=now, paths=frozenset(read)) if differences else None

    def _read_files(self, running: Running, pair: Pair, paths: frozenset[bytes], now: float) -> list[Difference]:
        directory, table = pair
        progress = self._start(pair, now)
        if progress is None:
            return []
        settled = self._settle(directory, table, now)
        part = Part.of(table, paths - progress.first)
        wanted = frozenset(record.path for record in part.records)
        records = self._eyes.read_files(running, directory, wanted, _deciding(table), settled)
        found = list(compare_layer(part, records))
        unread = {difference.path for difference in found if difference.change is Change.UNREAD}
        progress.take_first(record for record in part.records if record.path not in unread)
        table.release()
        return [difference for difference in found if difference.change is not Change.UNREAD]

    # -- 2 -----------------------------------------------------------------------------------------------------------

    def _read_all(self, running: Running, pairs: tuple[Pair, ...]) -> Reading:
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
            known, touches = self._find_fresh(key, now), self._touches[directory]
        if known is not None:
            return known
        progress = self._start((directory, table), now) or Progress.of(table)
        settled = self._settle(directory, table, now)
        try:
            records = self._let_urgent_pass(self._eyes.read_layer(running, directory, _deciding(table), settled))
            differences = tuple(compare_layer(Followed(table, progress), records))
            unread = measure(table, {difference.path for difference in differences if difference.change is Change.UNREAD})
        finally:
            progress.forget()
        fresh = _Read(differences, settled.verified_at if settled else now, touches, unread)
        table.release()
        with self._lock:
            self._known[key] = fresh
        if self._memory is not None and fresh.differences:
            self._memory.forget(directory, str(table.root))
        elif self._memory is not None and settled is None:
            self._memory.note(directory, str(table.root), now)
        return fresh

    def _let_urgent_pass(self, records: Iterator[Record | Unobserved]) -> Iterator[Record | Unobserved]:
        for record in records:
            if self._is_closed:
                raise _Closed
            self._read_urgent()
            yield record

    # -- 3 -----------------------------------------------------------------------------------------------------------

    def _find_fresh(self, key: tuple[bytes, str], now: float) -> _Read | None:
        """What was read of a layer, if that still counts. The lock is held."""
        known = self._known.get(key)
        return known if known is not None and known.touches == self._touches[key[0]] and 0 <= now - known.at < EVERY_S else None

    def _start(self, pair: Pair, now: float) -> Progress | None:
        """How far a layer is read that is still to be; None for one that was."""
        directory, table = pair
        key = directory, str(table.root)
        with self._lock:
            if self._find_fresh(key, now) is not None:
                return None
            progress, touches = self._progress.get(key), self._touches[directory]
        if progress is None:
            progress = Progress.of(table)
            table.release()
            with self._lock:
                self._progress[key] = progress
        progress.begin(touches)
        return progress

    def _settle(self, directory: bytes, table: LayerTable, now: float) -> Settled | None:
        """Since when only its changes need be read; None if all of it must be."""
        with self._lock:
            known = self._known.get((directory, str(table.root)))
        if known is not None:
            return Settled(table, known.at) if not known.differences and 0 <= now - known.at < EVERY_S else None
        at = self._memory.find(directory, str(table.root), now) if self._memory is not None else None
        return Settled(table, at) if at is not None else None


def _hand(read: Callable[[], Reading | None], then: Then) -> None:
    try:
        found = read()
        if found is not None:
            then(found)
    except _Closed:
        return
    except BaseException as error:
        then(error)
        raise


def _deciding(table: LayerTable) -> Algorithms:
    return Algorithms((table.algorithms or SHA256).deciding)


def _assign(pairs: tuple[Pair, ...], paths: frozenset[bytes]) -> Iterator[tuple[Pair, frozenset[bytes]]]:
    """Which of `paths` are files of which layer: the uppermost that says anything of them."""
    left = set(paths)
    for pair in pairs:
        said = {path: record for path in left if (record := pair[1].find(path)) is not None}
        left -= said.keys()
        files = frozenset(path for path, record in said.items() if record.entry is not None and record.entry.kind is Kind.FILE)
        if files:
            yield pair, files
