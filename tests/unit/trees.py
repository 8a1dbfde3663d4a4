"""Small images and observations, built by hand."""

from __future__ import annotations

from collections.abc import Iterable

from intact.model.container import Container
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.layer import Baseline, Grade, MemoryTable, Record, complete_parents
from intact.model.observation import Observation, Scope, Unobserved

CONTAINER = Container(id="c0ffee", name="web", image="shop/web:2", image_key=Digest.of(b"config"), node="node-1", started_at=50.0)


def file(path: bytes, content: bytes = b"x", mode: int = 0o644, **more: object) -> Entry:
    return Entry(path=path, kind=Kind.FILE, mode=mode, size_bytes=len(content), digest=Digest.of(content), **more)  # type: ignore[arg-type]


def directory(path: bytes, mode: int = 0o755) -> Entry:
    return Entry(path=path, kind=Kind.DIRECTORY, mode=mode)


def link(path: bytes, target: bytes) -> Entry:
    return Entry(path=path, kind=Kind.SYMLINK, mode=0o777, target=target)


def table(records: Iterable[Record], name: bytes = b"layer") -> MemoryTable:
    complete = complete_parents({record.path: record for record in records})
    return MemoryTable(Digest.of(name), Digest.of(name + repr(complete).encode()), complete)


def layer(*entries: Entry) -> MemoryTable:
    return table(Record(path=entry.path, entry=entry) for entry in entries)


def image(*entries: Entry) -> Baseline:
    return Baseline(key=Digest.of(b"config"), layers=(layer(*entries),), grade=Grade.VERIFIED, source="oci:test")


def seen(
    *present: Entry,
    absent: tuple[bytes, ...] = (),
    opaque: tuple[bytes, ...] = (),
    unobserved: tuple[Unobserved, ...] = (),
    targets: tuple[bytes, ...] = (),
    scope: Scope = Scope.DRIFT,
    unlisted: int = 0,
) -> Observation:
    return Observation(
        container=CONTAINER,
        scope=scope,
        present=present,
        absent=absent,
        opaque=opaque,
        unobserved=unobserved,
        targets=targets,
        unlisted=unlisted,
        started_at=100.0,
        finished_at=101.0,
    )
