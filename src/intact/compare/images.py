"""What differs between two baselines, and which layer brought it: exact, and at the cost of what changed.

In: two baselines. Out: differences in order of path (`expected` of the first, `actual` of the second), each path at most once. Layers that
both have are not walked:

1. Layers with the same root, in the same order, are paired: what only they say of a path is the same in both.
2. A path can differ only if an unpaired layer names it, or hides or replaces something above it; below such a path both are read.
3. An implicit directory takes its group from a set-group-ID directory above: where such a one differs, both are read below it.

Where the unpaired layers are a large part of the whole, both are simply read: that is quicker than asking path by path. What one side does
not state is not compared. Never reads a file; keeps no difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from intact.model.digest import WEAK
from intact.model.entry import Entry, Kind, ancestors
from intact.model.finding import Change, Difference
from intact.model.layer import Baseline, LayerTable, Record
from intact.model.stated import Aspect, Stated

from .differ import UNREAD, compare_entries

READ_ALL_FROM = 8
"""Both are read whole where more than one record in so many is in an unpaired layer."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """`pairs` are (number in the first, number in the second) of the layers that both have, counted from 0, both ascending."""

    pairs: tuple[tuple[int, int], ...]

    @property
    def before(self) -> frozenset[int]:
        return frozenset(one for one, _ in self.pairs)

    @property
    def after(self) -> frozenset[int]:
        return frozenset(other for _, other in self.pairs)


def pair_layers(before: Sequence[LayerTable], after: Sequence[LayerTable]) -> Pairing:
    """The longest sequence of layers that both have in the same order, by their roots (1)."""
    one, other = [layer.root for layer in before], [layer.root for layer in after]
    best = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) - 1, -1, -1):
        for j in range(len(other) - 1, -1, -1):
            best[i][j] = 1 + best[i + 1][j + 1] if one[i] == other[j] else max(best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(one) and j < len(other):
        if one[i] == other[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return Pairing(tuple(pairs))


def compare_images(
    before: Baseline, after: Baseline, pairing: Pairing | None = None, *, read_all_from: int = READ_ALL_FROM
) -> Iterator[Difference]:
    """All differences. An `Unread` one is a file whose content has no algorithm in common; what only weak ones show to be equal, where one
    side has no others, is no difference here: see `stated.is_weak`."""
    pairing = pairing or pair_layers(before.layers, after.layers)
    unpaired = [layer for number, layer in enumerate(before.layers) if number not in pairing.before]
    unpaired += [layer for number, layer in enumerate(after.layers) if number not in pairing.after]
    total = sum(map(len, before.layers)) + sum(map(len, after.layers))
    is_much = sum(map(len, unpaired)) * read_all_from > total
    pairs = _merge(before.scan(), after.scan()) if is_much else _ask(before, after, unpaired)
    for one, other in pairs:
        difference = _compare(one, other, before.stated, after.stated)
        if difference is not None:
            yield difference


def find_bringer(layers: Sequence[LayerTable], path: bytes, among: Collection[int]) -> int | None:
    """The number of the highest layer `among` those numbered that says something of `path`: has it, removes it, or hides what is below a
    directory above it."""
    above = ancestors(path)
    implied = None
    for number in sorted(among, reverse=True):
        record = layers[number].find(path)
        if record is not None and not record.implicit:
            return number
        if record is None and any(_hides(layers[number].find(directory)) for directory in above):
            return number
        if record is not None and implied is None:
            implied = number
    return implied


def _merge(before: Iterator[Entry], after: Iterator[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    one, other = next(before, None), next(after, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.path < other.path):
            yield one, None
            one = next(before, None)
        elif one is None or other.path < one.path:
            yield None, other
            other = next(after, None)
        else:
            yield one, other
            one, other = next(before, None), next(after, None)


def _ask(before: Baseline, after: Baseline, unpaired: Sequence[LayerTable]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Both sides of every path that can differ (2, 3)."""
    order = count()
    layers = {layer.root: layer for layer in (*before.layers, *after.layers)}.values()
    streams: list[tuple[bytes, int, Record | None, Iterator[bytes | Record]]] = []
    read_below: set[bytes] = set()

    def push(stream: Iterator[bytes | Record]) -> None:
        found = next(stream, None)
        if isinstance(found, Record):
            heappush(streams, (found.path, next(order), found, stream))
        elif found is not None:
            heappush(streams, (found, next(order), None, stream))

    def read(directory: bytes) -> None:
        if directory not in read_below and not any(above in read_below for above in ancestors(directory)):
            read_below.add(directory)
            push(_paths(before.scan(directory)))
            push(_paths(after.scan(directory)))

    for layer in unpaired:
        push(iter(layer.scan()))
    while streams:
        path = streams[0][0]
        replaces = False
        while streams and streams[0][0] == path:
            _, _, record, stream = heappop(streams)
            replaces = replaces or _hides(record)
            push(stream)
        if replaces and any(_is_directory(layer.find(path)) for layer in layers):
            read(path)
        one, other = before.find(path), after.find(path)
        if one is None and other is None:
            continue
        if one != other and any(side is not None and side.kind is Kind.DIRECTORY and side.mode & 0o2000 for side in (one, other)):
            read(path)
        yield one, other


def _paths(entries: Iterable[Entry]) -> Iterator[bytes | Record]:
    return (entry.path for entry in entries)


def _hides(record: Record | None) -> bool:
    return record is not None and (record.entry is None or record.opaque or record.entry.kind is not Kind.DIRECTORY)


def _is_directory(record: Record | None) -> bool:
    return record is not None and record.entry is not None and record.entry.kind is Kind.DIRECTORY


def _compare(one: Entry | None, other: Entry | None, said: Stated, also: Stated) -> Difference | None:
    """One path, in what both state."""
    one = one if one is not None and said.speaks_of(one) else None
    other = other if other is not None and also.speaks_of(other) else None
    if one is None or other is None:
        return _compare_lone(one, other, said, also)
    if one.kind is other.kind:
        one = one if said.is_everything else said.complete(one, other)
        other = other if also.is_everything else also.complete(other, one)
    difference = compare_entries(one, other)
    if difference is None or UNREAD not in difference.fields:
        return difference
    is_weak = said.is_weak or also.is_weak
    is_due = is_weak or Aspect.CONTENT in said.aspects & also.aspects
    if is_due and not (is_weak and _is_weakly_equal(one, other)):
        return difference
    if difference.change is Change.UNREAD:
        return None
    fields = tuple(field for field in difference.fields if field != UNREAD)
    return Difference(path=difference.path, change=difference.change, expected=one, actual=other, fields=fields)


def _compare_lone(one: Entry | None, other: Entry | None, said: Stated, also: Stated) -> Difference | None:
    """A path that one side has: a difference only if the other would have named it."""
    if one is not None and also.speaks_of(one):
        return Difference(path=one.path, change=Change.DELETED, expected=one, actual=None)
    if other is not None and said.speaks_of(other):
        return Difference(path=other.path, change=Change.ADDED, expected=None, actual=other)
    return None


def _is_weakly_equal(one: Entry, other: Entry) -> bool:
    """Whether nothing but a weak algorithm is common to both; that it agrees is known already."""
    return bool(WEAK & {digest.algorithm for digest in one.further} & {digest.algorithm for digest in other.further})
