"""Blobs that will be wanted next, fetched while the one before is still being read: several connections, one reader.

In: a source that several threads may read, and the blobs in the order in which they will be opened. Out: the same source, whose blobs have
begun to come when they are opened. Reading, decompressing and hashing stay in one place and in order, so that results do not depend on
which came first; memory is bounded by `workers` times `HELD_BYTES`, however large the blobs are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from .ports import BlobSource, Descriptor

HELD_BYTES = 8 << 20
"""Of one blob, before its fetching waits for the reader."""
HANDED_BYTES = 1 << 20
"""Handed over at once: what comes from a network comes in small pieces, and waking the reader for each costs more than reading it."""
_END_S = 2.0
"""How long the end waits for threads that are deep in a read of the network; they hold nothing, and end by themselves."""


class Prefetched:
    """A BlobSource over another. Close it (`with`) to end what is still being fetched."""

    def __init__(self, source: BlobSource, descriptors: Sequence[Descriptor], workers: int) -> None:
        self._source = source
        self._fetches = deque(_Fetch(source, descriptor) for descriptor in descriptors)
        self._workers = workers
        self._started: list[_Fetch] = []

    def __enter__(self) -> Self:
        self._start_some()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for fetch in self._started:
            fetch.stop()
        for fetch in self._started:
            fetch.join(_END_S)

    @property
    def name(self) -> str:
        return self._source.name

    def root(self) -> Descriptor:
        return self._source.root()

    def aliases(self) -> tuple[str, ...]:
        return self._source.aliases()

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        """The next blob, which must be the one that was announced."""
        self._start_some()
        fetch = self._started.pop(0)
        assert fetch.descriptor == descriptor, "blobs are opened in the order that was announced"
        try:
            fetch.wait_begun()
            yield fetch.chunks()
        finally:
            fetch.stop()
            fetch.join(_END_S)

    def _start_some(self) -> None:
        while self._fetches and len(self._started) < self._workers:
            fetch = self._fetches.popleft()
            fetch.start()
            self._started.append(fetch)


class _Fetch(threading.Thread):
    """One blob, read into memory up to a bound."""

    def __init__(self, source: BlobSource, descriptor: Descriptor) -> None:
        super().__init__(name="blob", daemon=True)
        self.descriptor = descriptor
        self._source = source
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._error: BaseException | None = None
        self._is_ended = self._is_stopped = False

    def run(self) -> None:
        try:
            with self._source.open(self.descriptor) as chunks:
                parts, held = [], 0
                for chunk in chunks:
                    parts.append(chunk)
                    held += len(chunk)
                    if held >= HANDED_BYTES:
                        if not self._put(b"".join(parts)):
                            return
                        parts, held = [], 0
                self._put(b"".join(parts))
        except BaseException as error:  # for the reader
            self._error = error
        finally:
            with self._changed:
                self._is_ended = True
                self._changed.notify_all()

    def wait_begun(self) -> None:
        """Until there is something to read. Raises what there is instead: whether a source has a blob is known when it is opened."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._is_ended)
            if self._error is not None and not self._chunks:
                raise self._error

    def chunks(self) -> Iterator[bytes]:
        """The blob's bytes as they come, then the error that ended it, if one did."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or self._is_ended)
                taken = list(self._chunks)
                self._chunks.clear()
                self._held_bytes = 0
                self._changed.notify_all()
            yield from taken
            if not taken:
                if self._error is not None:
                    raise self._error
                return

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _put(self, chunk: bytes) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._held_bytes < HELD_BYTES or self._is_stopped)
            if self._is_stopped:
                return False
            self._chunks.append(chunk)
            self._held_bytes += len(chunk)
            self._changed.notify_all()
            return True
