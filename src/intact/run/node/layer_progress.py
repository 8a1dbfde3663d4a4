"""How much of one read-only layer was verified, while that goes on: in bytes of the files that its table names.

In: the table, and what is read of it. Out: what is left. Written by the thread that reads, asked by any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from intact.model.entry import Kind
from intact.model.layer import LayerTable, Record


@dataclass(slots=True)
class Progress:
    """What counts was read since the layer was touched for the `touches`-th time."""

    total_bytes: int
    touches: int = 0
    first: frozenset[bytes] = frozenset()
    """The files that were read before all others."""
    _first_bytes: int = 0
    _passed_bytes: int = 0

    @classmethod
    def of(cls, table: LayerTable) -> Progress:
        """Reads the whole table."""
        return cls(sum(map(_size, table.scan())))

    def left_bytes(self, touches: int) -> int:
        return self.total_bytes - (self._first_bytes + self._passed_bytes if touches == self.touches else 0)

    def begin(self, touches: int) -> None:
        """What was read before it was touched counts no more."""
        if touches != self.touches:
            self.touches, self.first, self._first_bytes, self._passed_bytes = touches, frozenset(), 0, 0

    def take_first(self, records: Iterable[Record]) -> None:
        new = [record for record in records if record.path not in self.first]
        self.first |= frozenset(record.path for record in new)
        self._first_bytes += sum(map(_size, new))

    def forget(self) -> None:
        """It was read to its end, or could not be: nothing is under way."""
        self.first, self._first_bytes, self._passed_bytes = frozenset(), 0, 0

    def follow(self, records: Iterator[Record]) -> Iterator[Record]:
        """`records` of the table from its beginning, each counted when the next is asked for: then it was compared."""
        self._passed_bytes = 0
        for record in records:
            yield record
            if record.path not in self.first:
                self._passed_bytes += _size(record)


@dataclass(frozen=True, slots=True)
class Followed:
    """A table that is compared with a disk, and says how far that is. Implements `compare.differ.Expected`."""

    table: LayerTable
    progress: Progress

    def scan(self) -> Iterator[Record]:
        return self.progress.follow(self.table.scan())


@dataclass(frozen=True, slots=True)
class Part:
    """The records of some of a table's paths. Implements `compare.differ.Expected`."""

    records: tuple[Record, ...] = field(default=())

    @classmethod
    def of(cls, table: LayerTable, paths: Iterable[bytes]) -> Part:
        return cls(tuple(record for path in sorted(paths) if (record := table.find(path)) is not None))

    def scan(self) -> Iterator[Record]:
        return iter(self.records)


def measure(table: LayerTable, paths: Iterable[bytes]) -> int:
    """The bytes of the files at and below `paths`."""
    found = {path: record for path in paths if (record := table.find(path)) is not None}
    for path in tuple(found):
        found.update((record.path, record) for record in table.scan(path))
    return sum(map(_size, found.values()))


def _size(record: Record) -> int:
    return record.entry.size_bytes if record.entry is not None and record.entry.kind is Kind.FILE else 0
