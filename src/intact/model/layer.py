"""Layers and the baseline they make: what an image says its file tree is.

A layer is a sorted table of records; `Baseline` looks paths up through its layers from the top, so that a layer shared by many images is
stored and read once. `LayerTable` is the port to whoever keeps the table: in memory or mapped from a file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import groupby
from operator import itemgetter
from posixpath import join, normpath
from typing import Protocol

from .digest import Algorithms, Digest
from .entry import Entry, Kind, ancestors, known_by, parent
from .stated import EVERYTHING, Stated

MAX_LINKS = 255
"""Symlinks followed before a path counts as endless, as containerd's fs.RootPath counts."""


class Form(IntEnum):
    """Whether the place of a layer in its stack matters for what it says."""

    PLAIN = 0
    """It removes nothing: the same wherever it lies."""
    STACKED = 1
    """It has whiteouts, which apply to the layers beneath it (image-spec, layer.md#whiteouts)."""
    BASE = 2
    """It has whiteouts and lies lowest: a runtime applies them to what the same layer wrote before, and they leave no trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one layer says of one path (image-spec, layer.md).

    `entry` is None for a whiteout: the path and everything below it of the layers beneath is gone. `opaque` (directories only): everything
    below the path of the layers beneath is gone. `implicit`: a directory that no tar entry named, made for the entries below it; it has
    the metadata of the layers beneath, and that of `entry` if they have none.
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

    @property
    def form(self) -> Form:
        """Whether the same layer may stand elsewhere in a stack."""

    @property
    def algorithms(self) -> Algorithms | None:
        """By what its files are known, the same for all of them; None if it has no file that was read."""

    def __len__(self) -> int: ...

    def find(self, path: bytes) -> Record | None: ...

    def scan(self, prefix: bytes = b"/") -> Iterator[Record]:
        """The records strictly below the directory `prefix`, and for `/` the root's own too, in order of path."""

    def paths(self) -> Iterator[bytes]:
        """The paths of all records, in order: a fraction of what the records cost."""

    def release(self) -> None:
        """Gives back the memory that looking things up took; what was found stays valid, and the table can be asked again."""


class Grade(IntEnum):
    """How far a baseline can be trusted; part of every verdict. Higher is better."""

    FIRST_SEEN = 1
    """Read from the running container's own lower layers."""
    SUPPLIED = 2
    """Handed in by a person, without a proof that it is the image's."""
    NODE_REPORTED = 3
    """Computed by a node from bytes on a verified digest chain, believed on its word."""
    CORROBORATED = 4
    """Independent nodes computed the same."""
    VERIFIED = 5
    """Computed by this process from bytes on a verified digest chain."""
    SIGNED = 6
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
    stated: Stated = EVERYTHING
    """Less than everything for a list that people brought."""

    @property
    def algorithms(self) -> Algorithms:
        """By what its files are known: the same in all layers. An image without any file has the default."""
        return next((found for layer in self.layers if (found := layer.algorithms) is not None), Algorithms())

    @property
    def compared_by(self) -> Algorithms:
        """What a running container's files are to be hashed with: what decides, or all there is where nothing does."""
        return self.algorithms if self.stated.is_weak else Algorithms(self.algorithms.deciding)

    @property
    def root(self) -> Digest:
        """One digest for the whole: over the key and each layer's diff_id and table root, in order."""
        parts = [str(self.key), *(f"{layer.diff_id} {layer.root}" for layer in self.layers)]
        if not self.stated.is_everything:
            parts += ["stated", *sorted(self.stated.kinds), *sorted(self.stated.aspects), *map(bytes.hex, self.stated.below)]
        return Digest.of("\n".join(["intact baseline root v1", *parts, ""]).encode())

    def find(self, path: bytes) -> Entry | None:
        """The entry the image declares at `path`, or None."""
        return find_in_stack(self.layers, path)

    def nearest_directory(self, path: bytes) -> bytes:
        """The nearest directory above `path` that the image has, from the root down: it costs the image's depth, not the path's."""
        nearest, at = b"/", path.find(b"/", 1)
        while at > 0:
            entry = self.find(path[:at])
            if entry is None or entry.kind is not Kind.DIRECTORY:
                break
            nearest, at = path[:at], path.find(b"/", at + 1)
        return nearest

    def scan(self, prefix: bytes = b"/") -> Iterator[Entry]:
        """The entries strictly below the directory `prefix` (and the root's own for `/`), in order of path."""
        return scan_stack(self.layers, prefix)


def find_in_stack(layers: Sequence[LayerTable], path: bytes) -> Entry | None:
    """Looks `path` up from the top layer down, honouring whiteouts, opaque directories and directories replaced by something else."""
    for rank in range(len(layers) - 1, -1, -1):
        record = layers[rank].find(path)
        if record is not None:  # only now its ancestors: a path that no layer has may be as deep as an attacker likes
            above = ancestors(path)
            if any(_hides(layer.find(a)) for layer in layers[rank + 1 :] for a in above):
                return None
            return _shown(layers, rank, record)
    return None


def scan_stack(layers: Sequence[LayerTable], prefix: bytes = b"/") -> Iterator[Entry]:
    """Merges the layers' records below `prefix` in order of path, each path once. Memory: one record per layer, and one number for each
    directory that hides something."""
    streams = [_ranked(layer.scan(prefix), rank) for rank, layer in enumerate(layers)]
    barriers = _barriers_above(layers, prefix)
    for path, same in groupby(heapq.merge(*streams), key=itemgetter(0)):
        barrier = barriers.get(parent(path), 0) if path != b"/" else 0
        shown: tuple[int, Record] | None = None
        below = barrier
        for _, negative_rank, record in same:
            rank = -negative_rank
            if rank >= barrier and shown is None:
                shown = rank, record
            if rank > below and _hides(record):
                below = rank
        if below:
            barriers[path] = below
        if shown is not None:
            entry = _shown(layers, *shown)
            if entry is not None:
                yield entry


def _ranked(records: Iterable[Record], rank: int) -> Iterator[tuple[bytes, int, Record]]:
    return ((record.path, -rank, record) for record in records)


def _barriers_above(layers: Sequence[LayerTable], prefix: bytes) -> dict[bytes, int]:
    """For `prefix` itself: the highest layer that hides what the layers beneath hold below it."""
    if prefix == b"/":
        return {}
    hiding = [rank for rank, layer in enumerate(layers) if any(_hides(layer.find(path)) for path in (prefix, *ancestors(prefix)))]
    return {prefix: max(hiding)} if hiding else {}


def _hides(record: Record | None) -> bool:
    """Whether `record` hides everything the layers beneath hold below its path."""
    return record is not None and (record.entry is None or record.opaque or record.entry.kind is not Kind.DIRECTORY)


def _shown(layers: Sequence[LayerTable], rank: int, record: Record) -> Entry | None:
    return _inherit(layers, rank, record) if record.implicit else record.entry


def _inherit(layers: Sequence[LayerTable], rank: int, record: Record) -> Entry:
    """The metadata of a directory that no tar entry named, as containerd makes it (archive.Apply, mkparent): the next layer beneath that
    has a directory there gives it, a symlink being followed within that layer; something else than a directory there ends the search.
    Without one it is as the record says, with the group of a set-group-ID parent (mkdir(2))."""
    for lower in range(rank - 1, -1, -1):
        found = _find_followed(layers[lower], record.path)
        if found is not None:
            if found.entry is None or found.entry.kind is not Kind.DIRECTORY:
                break
            return replace(_inherit(layers, lower, found) if found.implicit else found.entry, path=record.path)
    made = record.entry or _made_directory(record.path)
    above = layers[rank].find(parent(record.path))
    if above is not None and above.implicit and above.path != record.path:
        holder = _inherit(layers, rank, above)
        return replace(made, gid=holder.gid) if holder.mode & 0o2000 else made
    return made


def _find_followed(table: LayerTable, path: bytes) -> Record | None:
    """What one layer alone has at `path`, symlinks followed as in a chroot; None where it has nothing or the links do not end."""
    for _ in range(MAX_LINKS):
        record = table.find(path)
        if record is None:
            record = next((r for r in map(table.find, ancestors(path)) if r is not None), None)
            if record is None:
                return None
        if record.entry is None or record.entry.kind is not Kind.SYMLINK:
            return record if record.path == path else None
        path = normpath(join(parent(record.path), record.entry.target) + path[len(record.path) :]).replace(b"//", b"/")
    return None


def _made_directory(path: bytes) -> Entry:
    return Entry(path=path, kind=Kind.DIRECTORY, mode=0o755)


@dataclass(frozen=True, slots=True)
class MemoryTable:
    """A layer table made of records in memory: for building, and for small trees."""

    diff_id: Digest
    root: Digest
    records: tuple[Record, ...]
    form: Form = Form.PLAIN

    @property
    def algorithms(self) -> Algorithms | None:
        entries = (record.entry for record in self.records if record.entry is not None and record.entry.digest is not None)
        return next((known_by(entry) for entry in entries), None)

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

    def paths(self) -> Iterator[bytes]:
        return (record.path for record in self.records)

    def release(self) -> None:
        """Nothing was taken."""

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
