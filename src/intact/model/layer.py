"""Layers and the baseline they make: what an image says its file tree is.

A layer is a sorted table of records; `Baseline` looks paths up through its layers from the top, so that a layer shared by many images is
stored and read once. `LayerTable` is the port to whoever keeps the table: in memory or mapped from a file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol

from .digest import Digest
from .entry import Entry, Kind, ancestors


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one layer says of one path (image-spec, layer.md).

    `entry` is None for a whiteout: the path and everything below it of the layers beneath is gone. `opaque` (directories only): everything
    below the path of the layers beneath is gone. `implicit`: a directory that no tar entry named, made for the entries below it; it keeps
    the metadata of the layers beneath, and is 0755 root:root if they have none.
    """

    path: bytes
    entry: Entry | None
    opaque: bool = False
    implicit: bool = False


class LayerTable(Protocol):
    """One layer's records, sorted by path (bytewise), each path once."""

    @property
    def diff_id(self) -> Digest:
        """The digest of the uncompressed layer (image-spec, config.md#rootfs)."""

    @property
    def root(self) -> Digest:
        """The Merkle root over the encoded records."""

    def __len__(self) -> int: ...

    def find(self, path: bytes) -> Record | None: ...

    def scan(self, prefix: bytes = b"/") -> Iterator[Record]:
        """The records strictly below the directory `prefix`, and for `/` the root's own too, in order of path."""


class Grade(IntEnum):
    """How far a baseline can be trusted; part of every verdict. Higher is better."""

    FIRST_SEEN = 1
    """Read from the running container's own lower layers, or handed in without proof."""
    NODE_REPORTED = 2
    """Computed by a node from bytes on a verified digest chain, believed on its word."""
    CORROBORATED = 3
    """Independent nodes computed the same."""
    VERIFIED = 4
    """Computed by this process from bytes on a verified digest chain."""
    SIGNED = 5
    """Signed by an accepted key."""

    @property
    def title(self) -> str:
        return self.name.title().replace("_", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Every file of one image. `key` is the image's config digest; `aliases` are other names that resolve to it (manifest digest,
    `repo@digest`, names); `layers` run from the bottom up; `source` says where the bytes came from, in skopeo's notation."""

    key: Digest
    layers: tuple[LayerTable, ...]
    grade: Grade
    source: str
    aliases: tuple[str, ...] = ()
    platform: str = ""

    @property
    def root(self) -> Digest:
        """One digest for the whole: over the key and each layer's diff_id and table root, in order."""
        parts = [str(self.key), *(f"{layer.diff_id} {layer.root}" for layer in self.layers)]
        return Digest.of("\n".join(["intact baseline root v1", *parts, ""]).encode())

    def find(self, path: bytes) -> Entry | None:
        """The entry the image declares at `path`, or None."""
        return find_in_stack(self.layers, path)

    def scan(self, prefix: bytes = b"/") -> Iterator[Entry]:
        """The entries strictly below the directory `prefix` (and the root's own for `/`), in order of path."""
        return scan_stack(self.layers, prefix)


def find_in_stack(layers: tuple[LayerTable, ...], path: bytes) -> Entry | None:
    """Looks `path` up from the top layer down, honouring whiteouts, opaque directories and directories replaced by something else."""
    above = ancestors(path)
    implicit = False
    for layer in reversed(layers):
        record = layer.find(path)
        if record is not None:
            if record.entry is None or (implicit and record.entry.kind is not Kind.DIRECTORY):
                break
            if not record.implicit:
                return record.entry
            implicit = True
        if any(_hides(layer.find(a)) for a in above):
            break
    return _made_directory(path) if implicit else None


def _hides(record: Record | None) -> bool:
    """Whether `record` of a directory hides everything the layers beneath hold below it."""
    return record is not None and (record.entry is None or record.opaque or record.entry.kind is not Kind.DIRECTORY)


def _made_directory(path: bytes) -> Entry:
    return Entry(path=path, kind=Kind.DIRECTORY, mode=0o755)


def scan_stack(layers: tuple[LayerTable, ...], prefix: bytes = b"/") -> Iterator[Entry]:
    """Merges the layers' records below `prefix` in order of path, each path once. Memory: one record per layer."""
    streams = [((record.path, -rank) for record in layer.scan(prefix)) for rank, layer in enumerate(layers)]
    last = None
    for path, _ in heapq.merge(*streams):
        if path != last:
            last = path
            entry = find_in_stack(layers, path)
            if entry is not None:
                yield entry


@dataclass(frozen=True, slots=True)
class MemoryTable:
    """A layer table made of records in memory: for building, and for small trees."""

    diff_id: Digest
    root: Digest
    records: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.records)

    def find(self, path: bytes) -> Record | None:
        index = self._position(path)
        return self.records[index] if index < len(self.records) and self.records[index].path == path else None

    def scan(self, prefix: bytes = b"/") -> Iterator[Record]:
        if prefix == b"/":
            yield from self.records
            return
        start = prefix + b"/"
        for index in range(self._position(start), len(self.records)):
            if not self.records[index].path.startswith(start):
                return
            yield self.records[index]

    def _position(self, path: bytes) -> int:
        low, high = 0, len(self.records)
        while low < high:
            middle = (low + high) // 2
            if self.records[middle].path < path:
                low = middle + 1
            else:
                high = middle
        return low


def complete_parents(records: dict[bytes, Record]) -> tuple[Record, ...]:
    """Adds the directories that no record names, as implicit ones, and sorts: what a table is made from."""
    complete = dict(records)
    for path in records:
        for above in ancestors(path):
            complete.setdefault(above, Record(path=above, entry=_made_directory(above), implicit=True))
    return tuple(complete[path] for path in sorted(complete))


def moved(entry: Entry, path: bytes) -> Entry:
    """The same entry under another name: what a hard link is."""
    return replace(entry, path=path)
