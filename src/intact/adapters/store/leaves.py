"""The audit log's leaves and checkpoints in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, func, insert, or_, select

from intact.audit.ports import Head, Query, Row, workload_name
from intact.model.merkle import HASH_BYTES, Frontier

from .database import Database
from .schema import CHECKPOINTS, LEAVES

PAGE = 500


class SqlLeafStore:
    """`audit.ports.LeafStore` on a database. Leaves are inserted, and never updated or deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractContextManager[object]:
        return self._database.alone()

    def head(self) -> Head:
        with self._database.read() as connection:
            last = connection.execute(select(CHECKPOINTS).order_by(CHECKPOINTS.c.size.desc()).limit(1)).one_or_none()
        if last is None:
            return Head(frontier=Frontier(), checkpoint=b"")
        peaks = tuple(last.peaks[at : at + HASH_BYTES] for at in range(0, len(last.peaks), HASH_BYTES))
        return Head(frontier=Frontier(size=last.size, peaks=peaks), checkpoint=last.note)

    def append(self, *, rows: Sequence[Row], head: Head) -> None:
        after = head.frontier.size - len(rows)
        with self._database.alone() as connection:
            size = connection.scalar(select(func.coalesce(func.max(CHECKPOINTS.c.size), 0)))
            if size != after:
                raise ValueError(f"the log has {size} leaves, and was to be continued behind {after}")
            values = [
                {
                    "index": index,
                    "at": row.at,
                    "kind": row.kind,
                    "node": row.node,
                    "workload": row.workload,
                    "workload_name": workload_name(row.workload),
                    "incident": row.incident,
                    "data": row.data,
                }
                for index, row in enumerate(rows, after)
            ]
            connection.execute(insert(LEAVES), values)
            peaks = b"".join(head.frontier.peaks)
            connection.execute(insert(CHECKPOINTS).values(size=head.frontier.size, note=head.checkpoint, peaks=peaks))

    def leaves(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        for _, data in self._scan(start, [] if stop is None else [LEAVES.c.index < stop]):
            yield data

    def checkpoints(self) -> Iterator[tuple[int, bytes]]:
        after = -1
        while True:
            query = (
                select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).where(CHECKPOINTS.c.size > after).order_by(CHECKPOINTS.c.size).limit(PAGE)
            )
            with self._database.read() as connection:
                page = connection.execute(query).all()
            for size, note in page:
                after = size
                yield size, note
            if len(page) < PAGE:
                return

    def find(self, query: Query) -> Iterator[tuple[int, bytes]]:
        where: list[ColumnElement[bool]] = []
        if query.since is not None:
            where.append(LEAVES.c.at >= query.since)
        if query.until is not None:
            where.append(LEAVES.c.at < query.until)
        if query.kinds:
            where.append(LEAVES.c.kind.in_(sorted(query.kinds)))
        if query.workload:
            where.append(or_(LEAVES.c.workload == query.workload, LEAVES.c.workload_name == query.workload))
        if query.incident:
            where.append(LEAVES.c.incident == query.incident)
        yield from self._scan(0, where)

    def _scan(self, start: int, where: Sequence[ColumnElement[bool]]) -> Iterator[tuple[int, bytes]]:
        """In pages, so that a slow reader holds no transaction open."""
        while True:
            query = select(LEAVES.c.index, LEAVES.c.data).where(LEAVES.c.index >= start, *where).order_by(LEAVES.c.index).limit(PAGE)
            with self._database.read() as connection:
                page = connection.execute(query).all()
            for index, data in page:
                start = index + 1
                yield index, data
            if len(page) < PAGE:
                return
