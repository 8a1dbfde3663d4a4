"""Baselines at scale (`baseline.ports.BaselineFiles`): envelopes and index in SQL, one immutable object per table in a bucket.

Storing:

1. Tables that the index does not have, or whose object is not what was put there, become new objects. An object's name is its table's root
   and a number drawn for this one upload, so that what one process removes is never what another just stored.
2. One transaction looks again whether every table is in the index, and makes the baseline one that has them. A table that was removed
   meanwhile is stored again.

Removing a table: one transaction takes it out of the index, if no baseline has it; then the object goes. What a process that died left in
the bucket is found by listing it. No transaction is open while the bucket is asked. Nothing here is verified: `baseline.store` does that.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, delete, insert, or_, select, update

from intact.baseline.ports import PUT_WITHIN_S, KeptBaseline, KeptTable, StoredBaseline, TableFile
from intact.model.digest import Digest
from intact.model.errors import TemporaryError, TrustError
from intact.model.platforms import pick_platform

from .cached import TableCache
from .database import Database, insert_new, upsert
from .objects import Bucket
from .schema import BASELINE_ALIASES, BASELINE_LAYERS, BASELINE_TABLES, BASELINES, LAYER_TABLES

PREFIX = "tables"
PAGE = 16
MANY = 500
"""Names in one statement."""
ATTEMPTS = 5
T = TypeVar("T")
_COLUMNS = (BASELINES.c.key, BASELINES.c.envelope)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    """A table's new object. `replaces`: the object that the index named and that is no good."""

    object: str
    size_bytes: int
    tag: str
    replaces: str


class SharedBaselines:
    """Any number of threads and processes may share database and bucket; `cache` is the process's own."""

    def __init__(self, database: Database, bucket: Bucket, cache: TableCache, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._bucket = bucket
        self._cache = cache
        self._clock = clock
        self._suspects: set[Digest] = set()  # what a reader complained of is stored anew, whatever the server says of it

    def put(self, stored: StoredBaseline, tables: Mapping[Digest, memoryview]) -> None:
        began = self._clock()
        uploads: dict[Digest, _Upload] = {}
        for _ in range(ATTEMPTS):
            self._store_tables(tables, uploads)  # 1
            if self._clock() - began > PUT_WITHIN_S:
                raise TemporaryError(f"storing the baseline {stored.key} in {self._bucket.url} took too long", code="ObjectsSlow")
            if self._index(stored, uploads):  # 2
                self._suspects.difference_update(uploads)
                return
        raise TemporaryError(
            f"the tables of {stored.key} are removed again and again", code="StoreBusy", hint="let one collection end first"
        )

    def find(self, name: str, platform: str = "") -> StoredBaseline | None:
        with self._database.read() as connection:
            row = connection.execute(select(*_COLUMNS).where(BASELINES.c.key == name)).one_or_none()
            if row is None:
                by_alias = select(BASELINE_ALIASES.c.platform, BASELINE_ALIASES.c.key).where(BASELINE_ALIASES.c.alias == name)
                named = {one.platform: one.key for one in connection.execute(by_alias)}
                picked = pick_platform(named, platform)
                if picked is not None:
                    row = connection.execute(select(*_COLUMNS).where(BASELINES.c.key == named[picked])).one_or_none()
            return None if row is None else _stored(connection, row.key, row.envelope)

    def find_by_layer(self, diff_id: Digest) -> Iterator[StoredBaseline]:
        query = select(*_COLUMNS).join(BASELINE_LAYERS, BASELINE_LAYERS.c.key == BASELINES.c.key)
        query = query.where(BASELINE_LAYERS.c.diff_id == str(diff_id)).order_by(BASELINES.c.key).limit(1)
        after = ""
        while True:
            with self._database.read() as connection:
                row = connection.execute(query.where(BASELINES.c.key > after)).one_or_none()
                found = None if row is None else _stored(connection, row.key, row.envelope)
            if found is None:
                return
            after = str(found.key)
            yield found

    def open_table(self, root: Digest, *, anew: bool = False) -> TableFile | None:
        with self._database.read() as connection:
            row = connection.execute(select(LAYER_TABLES).where(LAYER_TABLES.c.root == str(root))).one_or_none()
        if row is None:
            return None
        if anew:
            self._suspects.add(root)
        copy = None if anew else self._cache.open(root)
        if copy is not None and len(copy.data) == row.size_bytes:
            return copy
        with self._bucket.open(row.object, row.size_bytes) as pieces:
            return None if pieces is None else self._cache.keep(root, _exactly(pieces, row.size_bytes, row.object))

    def keys(self) -> tuple[Digest, ...]:
        with self._database.read() as connection:
            return tuple(Digest.parse(key) for key in connection.scalars(select(BASELINES.c.key).order_by(BASELINES.c.key)))

    # -- housekeeping ------------------------------------------------------------------------------------------------

    def mark_used(self, names: Collection[str], now: float) -> None:
        for some in _by_many(names):
            aliased = select(BASELINE_ALIASES.c.key).where(BASELINE_ALIASES.c.alias.in_(some))
            meant = or_(BASELINES.c.key.in_(some), BASELINES.c.key.in_(aliased))
            with self._database.write() as connection:
                connection.execute(update(BASELINES).where(meant, BASELINES.c.used_at < now).values(used_at=now))

    def list_baselines(self) -> Iterator[KeptBaseline]:
        query = select(BASELINES).order_by(BASELINES.c.key).limit(PAGE)
        after = ""
        while True:
            with self._database.read() as connection:
                rows = connection.execute(query.where(BASELINES.c.key > after)).all()
                page = [(_stored(connection, row.key, row.envelope), row.used_at) for row in rows]
            for stored, used_at in page:
                after = str(stored.key)
                yield KeptBaseline(
                    key=stored.key,
                    aliases=stored.aliases,
                    table_roots=stored.table_roots,
                    envelope_bytes=len(stored.envelope),
                    used_at=used_at,
                )
            if len(page) < PAGE:
                return

    def list_tables(self) -> Iterator[KeptTable]:
        after = ""
        while True:
            query = select(LAYER_TABLES).where(LAYER_TABLES.c.root > after).order_by(LAYER_TABLES.c.root).limit(MANY)
            with self._database.read() as connection:
                rows = connection.execute(query).all()
            for row in rows:
                after = row.root
                yield KeptTable(name=row.object, root=Digest.parse(row.root), size_bytes=row.size_bytes, stored_at=row.stored_at)
            if len(rows) < MANY:
                break
        for some in _by_many(self._bucket.list(PREFIX)):
            with self._database.read() as connection:
                named = select(LAYER_TABLES.c.object).where(LAYER_TABLES.c.object.in_([one.name for one in some]))
                indexed = set(connection.scalars(named))
            for one in some:
                if one.name not in indexed:
                    yield KeptTable(name=one.name, root=None, size_bytes=one.size_bytes, stored_at=one.modified_at)

    def remove_baseline(self, key: Digest, *, unused_since: float) -> bool:
        with self._database.write() as connection:
            unused = delete(BASELINES).where(BASELINES.c.key == str(key), BASELINES.c.used_at <= unused_since)
            return connection.execute(unused).rowcount > 0

    def remove_table(self, table: KeptTable, *, stored_before: float) -> bool:
        with self._database.write() as connection:
            held = connection.execute(select(LAYER_TABLES).where(LAYER_TABLES.c.object == table.name).with_for_update()).one_or_none()
            if held is None:
                if table.stored_at >= stored_before:
                    return False
            else:
                needed = connection.scalar(select(BASELINE_TABLES.c.key).where(BASELINE_TABLES.c.root == held.root).limit(1))
                if needed is not None or held.stored_at >= stored_before:
                    return False
                connection.execute(delete(LAYER_TABLES).where(LAYER_TABLES.c.object == table.name))
        self._bucket.delete([table.name])
        if table.root is not None:
            self._cache.forget(table.root)
        return True

    # -- storing -----------------------------------------------------------------------------------------------------

    def _store_tables(self, tables: Mapping[Digest, memoryview], uploads: dict[Digest, _Upload]) -> None:
        for root, data in tables.items():
            with self._database.read() as connection:
                row = connection.execute(select(LAYER_TABLES).where(LAYER_TABLES.c.root == str(root))).one_or_none()
            if root in uploads or (row is not None and root not in self._suspects and self._is_whole(row, len(data))):
                continue
            name = f"{PREFIX}/{root.algorithm}-{root.hex}.{secrets.token_hex(8)}"
            tag = self._bucket.put(name, data)
            uploads[root] = _Upload(object=name, size_bytes=len(data), tag=tag, replaces=row.object if row is not None else "")
            self._cache.keep(root, [data])

    def _is_whole(self, row: Any, size_bytes: int) -> bool:
        """Whether the object is still the one that was put there, as far as the server says."""
        found = self._bucket.head(row.object)
        return found is not None and found.size_bytes == row.size_bytes == size_bytes and found.tag == row.tag

    def _index(self, stored: StoredBaseline, uploads: Mapping[Digest, _Upload]) -> bool:
        """Step 2; False if a table that was not stored now is not there any more."""
        now = self._clock()
        key = str(stored.key)
        with self._database.write() as connection:
            for root, upload in sorted(uploads.items()):
                self._index_table(connection, root, upload, now)
            roots = [str(root) for root in stored.table_roots]
            held = connection.scalars(select(LAYER_TABLES.c.root).where(LAYER_TABLES.c.root.in_(roots)).with_for_update(read=True)).all()
            if set(held) != set(roots):
                return False
            upsert(connection, BASELINES, {"key": key}, {"envelope": stored.envelope, "stored_at": now, "used_at": now})
            for table in (BASELINE_ALIASES, BASELINE_LAYERS, BASELINE_TABLES):
                connection.execute(delete(table).where(table.c.key == key))
            for alias in sorted(stored.aliases):
                upsert(connection, BASELINE_ALIASES, {"alias": alias, "platform": stored.platform}, {"key": key})
            for diff_id in stored.diff_ids:
                connection.execute(insert(BASELINE_LAYERS).values(diff_id=str(diff_id), key=key))
            for name in roots:
                connection.execute(insert(BASELINE_TABLES).values(root=name, key=key))
        return True

    def _index_table(self, connection: Connection, root: Digest, upload: _Upload, now: float) -> None:
        """Makes the new object the table's, unless another process stored one meanwhile; the one that is not needed is left over."""
        values = {"object": upload.object, "size_bytes": upload.size_bytes, "tag": upload.tag, "stored_at": now}
        insert_new(connection, LAYER_TABLES, ("root",), {"root": str(root), **values})
        row = connection.execute(select(LAYER_TABLES).where(LAYER_TABLES.c.root == str(root)).with_for_update()).one()
        if row.object == upload.replaces:
            connection.execute(update(LAYER_TABLES).where(LAYER_TABLES.c.root == str(root)).values(values))


def _stored(connection: Connection, key: str, envelope: bytes) -> StoredBaseline:
    def column(table: Table, name: str) -> list[str]:
        return list(connection.scalars(select(table.c[name]).where(table.c.key == key).order_by(table.c[name])))

    return StoredBaseline(
        key=Digest.parse(key),
        aliases=tuple(column(BASELINE_ALIASES, "alias")),
        diff_ids=tuple(map(Digest.parse, column(BASELINE_LAYERS, "diff_id"))),
        table_roots=tuple(map(Digest.parse, column(BASELINE_TABLES, "root"))),
        envelope=envelope,
        platform=next(iter(column(BASELINE_ALIASES, "platform")), ""),
    )


def _exactly(pieces: Iterable[bytes], size_bytes: int, name: str) -> Iterator[bytes]:
    got = 0
    for piece in pieces:
        got += len(piece)
        if got > size_bytes:
            break
        yield piece
    if got != size_bytes:
        word = "more" if got > size_bytes else f"{got}"
        raise TrustError(
            f"the object {name} has {word} bytes, and {size_bytes} were stored",
            code="StoreMismatch",
            hint="the store was altered or damaged: build the baseline again",
        )


def _by_many(items: Iterable[T]) -> Iterator[list[T]]:
    some: list[T] = []
    for item in items:
        some.append(item)
        if len(some) == MANY:
            yield some
            some = []
    if some:
        yield some
