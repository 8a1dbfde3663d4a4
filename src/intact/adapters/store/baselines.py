"""Baselines on disk (`baseline.ports.BaselineFiles`): an SQLite index of envelopes, and one file per layer table.

A table is on disk before the index names it, so a process that dies at any point leaves at most a file that nothing names; what it left
half-written is removed at the next start. A table is removed, and looked for again by whoever is storing a baseline, only while the index
is locked for writing. Tables are mapped, not read. Nothing here is verified: `baseline.store` does that.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from intact.baseline.ports import KeptBaseline, KeptTable, StoredBaseline, TableFile
from intact.model.digest import Digest
from intact.model.errors import PermanentError, TemporaryError
from intact.model.platforms import pick_platform

from .atomic import PARTIAL, write_atomically
from .cached import is_same, open_table_file

INDEX = "baselines.sqlite"
TABLES = "tables"
_BUSY_TIMEOUT_S = 10.0
_SETTINGS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS baselines (key TEXT PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS used (key TEXT PRIMARY KEY REFERENCES baselines(key) ON DELETE CASCADE, at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS names (alias TEXT NOT NULL, platform TEXT NOT NULL,
  key TEXT NOT NULL REFERENCES baselines(key) ON DELETE CASCADE, PRIMARY KEY (alias, platform)) STRICT;
CREATE TABLE IF NOT EXISTS layers (key TEXT NOT NULL REFERENCES baselines(key) ON DELETE CASCADE, diff_id TEXT NOT NULL,
  PRIMARY KEY (diff_id, key)) STRICT;
CREATE TABLE IF NOT EXISTS tables (key TEXT NOT NULL REFERENCES baselines(key) ON DELETE CASCADE, root TEXT NOT NULL,
  PRIMARY KEY (root, key)) STRICT;
"""
_FIRST_SCHEMA = "DROP TABLE IF EXISTS aliases;"
"""Names without a platform: baselines are found by key, and under their names once they are stored again."""
_BY_KEY = "SELECT key, envelope FROM baselines WHERE key = ?"
_MARK = "UPDATE used SET at = max(at, ?2) WHERE key = ?1 OR key IN (SELECT key FROM names WHERE alias = ?1)"
_TABLE_NAME = re.compile(r"([a-z0-9]+)-([0-9a-f]+)\.table")


class BaselineDirectory:
    """One directory of baselines. Safe to share between threads; several processes may share the directory."""

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._tables = directory / TABLES
        self._lock = threading.Lock()
        try:
            self._tables.mkdir(parents=True, exist_ok=True, mode=0o700)
            for partial in self._tables.glob(f".*{PARTIAL}"):
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise PermanentError(f"cannot use {directory}: {error.strerror}", code="Store") from None
        with self._explained():
            self._sql = sqlite3.connect(directory / INDEX, timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None)
            self._sql.executescript(_SETTINGS + _SCHEMA + _FIRST_SCHEMA)
            self._sql.execute("INSERT OR IGNORE INTO used (key, at) SELECT key, ? FROM baselines", (clock(),))

    def put(self, stored: StoredBaseline, tables: Mapping[Digest, memoryview]) -> None:
        for root, data in tables.items():
            self._write_table(root, data)
        key = str(stored.key)
        with self._lock, self._explained(), self._transaction() as sql:
            for root, data in tables.items():
                if not self._path(root).exists():
                    self._write_table(root, data)
            sql.execute("DELETE FROM baselines WHERE key = ?", (key,))
            sql.execute("INSERT INTO baselines (key, envelope) VALUES (?, ?)", (key, stored.envelope))
            sql.execute("INSERT INTO used (key, at) VALUES (?, ?)", (key, self._clock()))
            named = [(alias, stored.platform, key) for alias in dict.fromkeys(stored.aliases)]
            sql.executemany("INSERT OR REPLACE INTO names (alias, platform, key) VALUES (?, ?, ?)", named)
            sql.executemany("INSERT INTO layers (key, diff_id) VALUES (?, ?)", [(key, str(diff_id)) for diff_id in stored.diff_ids])
            sql.executemany("INSERT INTO tables (key, root) VALUES (?, ?)", [(key, str(root)) for root in stored.table_roots])

    def find(self, name: str, platform: str = "") -> StoredBaseline | None:
        with self._lock, self._explained():
            row = self._sql.execute(_BY_KEY, (name,)).fetchone()
            if row is None:
                named = dict(self._sql.execute("SELECT platform, key FROM names WHERE alias = ?", (name,)).fetchall())
                picked = pick_platform(named, platform)
                row = None if picked is None else self._sql.execute(_BY_KEY, (named[picked],)).fetchone()
            return self._stored(*row) if row is not None else None

    def find_by_layer(self, diff_id: Digest) -> Iterator[StoredBaseline]:
        query = "SELECT key, envelope FROM layers JOIN baselines USING (key) WHERE diff_id = ? AND key > ? ORDER BY key LIMIT 1"
        after = ""
        while True:
            with self._lock, self._explained():
                row = self._sql.execute(query, (str(diff_id), after)).fetchone()
                if row is None:
                    return
                found = self._stored(*row)
            after = str(found.key)
            yield found

    def open_table(self, root: Digest, *, anew: bool = False) -> TableFile | None:
        return open_table_file(self._path(root))

    def keys(self) -> tuple[Digest, ...]:
        with self._lock, self._explained():
            return tuple(Digest.parse(key) for (key,) in self._sql.execute("SELECT key FROM baselines ORDER BY key"))

    # -- housekeeping ------------------------------------------------------------------------------------------------

    def mark_used(self, names: Collection[str], now: float) -> None:
        with self._lock, self._explained(), self._transaction() as sql:
            sql.executemany(_MARK, [(name, now) for name in names])

    def list_baselines(self) -> Iterator[KeptBaseline]:
        query = "SELECT key, envelope, at FROM baselines JOIN used USING (key) WHERE key > ? ORDER BY key LIMIT 1"
        after = ""
        while True:
            with self._lock, self._explained():
                row = self._sql.execute(query, (after,)).fetchone()
                if row is None:
                    return
                stored = self._stored(row[0], row[1])
            after = row[0]
            yield KeptBaseline(
                key=stored.key,
                aliases=stored.aliases,
                table_roots=stored.table_roots,
                envelope_bytes=len(stored.envelope),
                used_at=row[2],
            )

    def list_tables(self) -> Iterator[KeptTable]:
        for path in sorted(self._tables.iterdir()):
            try:
                info = path.stat()
            except FileNotFoundError:
                continue
            match = _TABLE_NAME.fullmatch(path.name)
            if match is not None:
                root = Digest.parse(f"{match[1]}:{match[2]}")
                yield KeptTable(name=path.name, root=root, size_bytes=info.st_size, stored_at=info.st_mtime)

    def remove_baseline(self, key: Digest, *, unused_since: float) -> bool:
        unused = "DELETE FROM baselines WHERE key = ?1 AND (SELECT at FROM used WHERE key = ?1) <= ?2"
        with self._lock, self._explained(), self._transaction() as sql:
            return sql.execute(unused, (str(key), unused_since)).rowcount > 0

    def remove_table(self, table: KeptTable, *, stored_before: float) -> bool:
        path = self._tables / table.name
        with self._lock, self._explained(), self._transaction() as sql:
            if sql.execute("SELECT 1 FROM tables WHERE root = ? LIMIT 1", (str(table.root),)).fetchone() is not None:
                return False
            try:
                if path.stat().st_mtime >= stored_before:
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
            except OSError as error:
                raise PermanentError(f"cannot remove {path}: {error.strerror}", code="Store") from None
            return True

    def close(self) -> None:
        with self._lock:
            self._sql.close()

    def _stored(self, key: str, envelope: bytes) -> StoredBaseline:
        def column(query: str) -> list[str]:
            return [value for (value,) in self._sql.execute(query, (key,))]

        return StoredBaseline(
            key=Digest.parse(key),
            aliases=tuple(column("SELECT DISTINCT alias FROM names WHERE key = ? ORDER BY alias")),
            diff_ids=tuple(map(Digest.parse, column("SELECT diff_id FROM layers WHERE key = ? ORDER BY diff_id"))),
            table_roots=tuple(map(Digest.parse, column("SELECT root FROM tables WHERE key = ? ORDER BY root"))),
            envelope=envelope,
            platform=next(iter(column("SELECT platform FROM names WHERE key = ? LIMIT 1")), ""),
        )

    def _write_table(self, root: Digest, data: memoryview) -> None:
        """Written anew unless exactly these bytes are there: a damaged file is mended by storing its baseline again."""
        present = self.open_table(root)
        if present is None or not is_same(present.data, data):
            write_atomically(self._path(root), [data], mode=0o600)

    def _path(self, root: Digest) -> Path:
        return self._tables / f"{root.algorithm}-{root.hex}.table"

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield self._sql
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors, by what the caller can do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise TemporaryError(
                    f"cannot write {self._directory}: the disk is full", code="DiskFull", hint="make room and try again"
                ) from None
            raise TemporaryError(f"the baseline store {self._directory}: {error}", code="Store") from None
        except sqlite3.DatabaseError as error:
            hint = "move it away: baselines are built again"
            raise PermanentError(f"the baseline store {self._directory} is damaged: {error}", code="StoreDamaged", hint=hint) from None
