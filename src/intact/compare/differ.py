"""What differs between an image and what was seen of a container: exact, without judgement.

In come a baseline (or one layer's table) and an observation, out come differences in order of path, each path at most once. Nothing here
decides whether a difference matters, reads a file or a clock. What the baseline does not state is not compared. Hidden by overlayfs, and so
gone: what is below a whiteout, below an opaque directory, and below anything that is no directory. What could not be looked at is never
called deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from intact.model.digest import WEAK
from intact.model.entry import Entry, Kind, ancestors
from intact.model.finding import Change, Difference
from intact.model.layer import Baseline, Record
from intact.model.observation import Observation, Scope, Unobserved
from intact.model.stated import EVERYTHING, Aspect, Stated

UNREAD = "unread"


def compare(baseline: Baseline, observation: Observation) -> tuple[Difference, ...]:
    """All differences, in order of path.

    Scope DRIFT speaks of the mentioned paths alone; TREE and LAYERS of every path. A regular file that has the image's size but no digest
    (or one of another algorithm) is a difference too, `Unread`: whoever ignores judgement must not take it for clean.
    """
    if observation.scope is Scope.DRIFT:
        return tuple(sorted(_compare_drift(baseline, observation), key=_by_path))
    return tuple(_compare_tree(baseline, observation))


def compare_entries(expected: Entry, actual: Entry, stated: Stated = EVERYTHING) -> Difference | None:
    """How `actual` differs from `expected` at the same path in what is `stated`; None if it does not.

    Symbolic links have no mode of their own (symlink(7)); the size of a directory is its file system's business. Where only weak digests
    are stated, equal ones make no difference here: `judge` says once that they prove nothing.
    """
    if expected.kind is not actual.kind:
        return Difference(path=actual.path, change=Change.TYPE, expected=expected, actual=actual, fields=("type",))
    if stated is not EVERYTHING:
        expected = stated.complete(expected, actual)
    content, unread = _compare_content(expected, actual)
    if unread and stated is not EVERYTHING and not _is_content_due(expected, actual, stated):
        unread = ()
    metadata = _compare_metadata(expected, actual)
    fields = content + metadata + unread
    if not fields:
        return None
    change = Change.MODIFIED if content else Change.METADATA if metadata else Change.UNREAD
    order = ("content", "size", "mode", "uid", "gid", "xattrs", "target", "device", UNREAD)
    return Difference(path=actual.path, change=change, expected=expected, actual=actual, fields=tuple(f for f in order if f in fields))


def _is_content_due(expected: Entry, actual: Entry, stated: Stated) -> bool:
    """Whether content that nobody showed to be equal is something left undone."""
    if stated.is_weak:
        return not {digest.algorithm for digest in expected.further} & {digest.algorithm for digest in actual.further}
    return Aspect.CONTENT in stated.aspects


class Expected(Protocol):
    """A layer table, or part of one."""

    def scan(self) -> Iterator[Record]:
        """Records in order of path."""


def compare_layer(table: Expected, records: Iterable[Record | Unobserved]) -> Iterator[Difference]:
    """One read-only layer on disk (`records`, sorted by path) against its table; one record of each in memory.

    An `Unobserved` among the records comes out as a difference `Unread` with its reason, and what the table has below it is not called
    deleted. Raises ValueError if the records are not sorted: the merge would make up differences.
    """
    blind = _Blind()
    expected = iter(table.scan())
    wanted = next(expected, None)
    last: bytes | None = None
    for found in records:
        if isinstance(found, Unobserved):
            blind.add(found.path)
            yield Difference(path=found.path, change=Change.UNREAD, expected=None, actual=None, fields=(UNREAD,), reason=found.reason)
            continue
        if last is not None and found.path <= last:
            raise ValueError(f"records are not sorted by path: {found.path!r} after {last!r}")
        last = found.path
        while wanted is not None and wanted.path < found.path:
            yield from _miss(wanted, blind)
            wanted = next(expected, None)
        if wanted is not None and wanted.path == found.path:
            yield from _compare_records(wanted, found)
            wanted = next(expected, None)
        elif found.path != b"/":
            yield _added_record(found)
    while wanted is not None:
        yield from _miss(wanted, blind)
        wanted = next(expected, None)


class _HasPath(Protocol):
    @property
    def path(self) -> bytes: ...


def _by_path(one: _HasPath) -> bytes:
    return one.path


class _Blind:
    """The paths at and below which nothing is known."""

    def __init__(self, unobserved: Iterable[Unobserved] = ()) -> None:
        self._paths = {one.path for one in unobserved}

    def add(self, path: bytes) -> None:
        self._paths.add(path)

    def covers(self, path: bytes) -> bool:
        return bool(self._paths) and (path in self._paths or any(above in self._paths for above in ancestors(path)))


def _compare_content(expected: Entry, actual: Entry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(fields of the content that differ, `unread` if equal content was not shown)."""
    match expected.kind:
        case Kind.FILE:
            if expected.size_bytes != actual.size_bytes:
                return ("content", "size"), ()
            return _compare_digests(expected, actual)
        case Kind.SYMLINK:
            return (("target",) if expected.target != actual.target else ()), ()
        case Kind.CHAR | Kind.BLOCK:
            return (("device",) if expected.device != actual.device else ()), ()
        case _:
            return (), ()


def _compare_digests(expected: Entry, actual: Entry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The deciding digests decide where both are by one algorithm. Otherwise any algorithm by which they differ shows that they do; that
    they do not, only a strong one that both have shows."""
    one, other = expected.digest, actual.digest
    if one is not None and other is not None and one.algorithm == other.algorithm:
        return (("content",) if one != other else ()), ()
    known = {digest.algorithm: digest for digest in (other, *actual.further) if digest is not None}
    common = [(digest, known[digest.algorithm]) for digest in (one, *expected.further) if digest is not None and digest.algorithm in known]
    if any(mine != theirs for mine, theirs in common):
        return ("content",), ()
    return (), (() if any(digest.algorithm not in WEAK for digest, _ in common) else (UNREAD,))


def _compare_metadata(expected: Entry, actual: Entry) -> tuple[str, ...]:
    fields = []
    if expected.mode != actual.mode and expected.kind is not Kind.SYMLINK:
        fields.append("mode")
    if expected.uid != actual.uid:
        fields.append("uid")
    if expected.gid != actual.gid:
        fields.append("gid")
    if expected.xattrs != actual.xattrs:
        fields.append("xattrs")
    return tuple(fields)


def _added(entry: Entry) -> Difference:
    return Difference(path=entry.path, change=Change.ADDED, expected=None, actual=entry)


def _deleted(entry: Entry) -> Difference:
    return Difference(path=entry.path, change=Change.DELETED, expected=entry, actual=None)


def _compare_drift(baseline: Baseline, observation: Observation) -> Iterator[Difference]:
    present = {entry.path: entry for entry in observation.present}
    blind = _Blind(observation.unobserved)
    hidden: list[bytes] = []
    stated = baseline.stated
    for entry in present.values():
        expected = baseline.find(entry.path)
        if expected is None or not stated.speaks_of(expected):
            if stated.speaks_of(entry):
                yield _added(entry)
            continue
        difference = compare_entries(expected, entry, stated)
        if difference is not None:
            yield difference
        if expected.kind is Kind.DIRECTORY and entry.kind is not Kind.DIRECTORY:
            hidden.append(entry.path)
    gone = set(observation.absent) - present.keys()
    for path in gone:
        expected = baseline.find(path)
        if expected is not None:
            if stated.speaks_of(expected):
                yield _deleted(expected)
            if expected.kind is Kind.DIRECTORY:
                hidden.append(path)
    certain = frozenset(hidden)
    for directory in _outermost([*hidden, *observation.opaque]):
        for entry in baseline.scan(directory):
            if entry.path in present or entry.path in gone or entry.path == directory or not stated.speaks_of(entry):
                continue
            if not blind.covers(entry.path) or any(above in certain for above in ancestors(entry.path)):
                yield _deleted(entry)


def _outermost(directories: Iterable[bytes]) -> list[bytes]:
    """The directories that are not below another one of them."""
    every = frozenset(directories)
    return sorted(path for path in every if path == b"/" or not any(above in every for above in ancestors(path)))


def _compare_tree(baseline: Baseline, observation: Observation) -> Iterator[Difference]:
    blind = _Blind(observation.unobserved)
    stated = baseline.stated
    seen = iter(sorted(observation.present, key=_by_path))
    listed = baseline.scan()
    if not stated.is_everything:
        mentioned = {entry.path for entry in baseline.scan() if stated.speaks_of(entry)}
        seen = (entry for entry in seen if entry.path in mentioned or stated.speaks_of(entry))
        listed = (entry for entry in listed if stated.speaks_of(entry))
    actual = next(seen, None)
    for expected in listed:
        while actual is not None and actual.path < expected.path:
            yield _added(actual)
            actual = next(seen, None)
        if actual is not None and actual.path == expected.path:
            difference = compare_entries(expected, actual, stated)
            if difference is not None:
                yield difference
            actual = next(seen, None)
        elif not blind.covers(expected.path):
            yield _deleted(expected)
    while actual is not None:
        yield _added(actual)
        actual = next(seen, None)


def _compare_records(wanted: Record, found: Record) -> Iterator[Difference]:
    if wanted.entry is None and found.entry is None:
        return
    if wanted.entry is None or found.entry is None:
        change = Change.ADDED if wanted.entry is None else Change.DELETED
        yield Difference(path=found.path, change=change, expected=wanted.entry, actual=found.entry, fields=("whiteout",))
        return
    is_unspecified = wanted.implicit and found.entry.kind is Kind.DIRECTORY
    difference = None if is_unspecified else compare_entries(wanted.entry, found.entry)
    if difference is None and wanted.opaque != found.opaque:
        difference = Difference(
            path=found.path, change=Change.METADATA, expected=wanted.entry, actual=found.entry, fields=("opaque",)
        )  # fmt: skip
    if difference is not None:
        yield difference


def _added_record(found: Record) -> Difference:
    if found.entry is None:
        return Difference(path=found.path, change=Change.DELETED, expected=None, actual=None, fields=("whiteout",))
    return _added(found.entry)


def _miss(wanted: Record, blind: _Blind) -> Iterator[Difference]:
    """What the table has and the disk does not."""
    if wanted.path == b"/" or blind.covers(wanted.path):
        return
    if wanted.entry is None:
        yield Difference(path=wanted.path, change=Change.ADDED, expected=None, actual=None, fields=("whiteout",))
    else:
        yield _deleted(wanted.entry)
