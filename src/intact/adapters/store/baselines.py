"""Baselines on disk: an SQLite index of signed envelopes, and one file per layer table, shared by all images that have the layer.

In: baselines. Out: baselines whose tables are mapped from disk. A table is on disk before the index names it, so a process that dies at
any point leaves at most a file that nothing names. Nothing is given out on the disk's word: the envelope must be signed, by the store's own
key or by a trusted one, and a table's root is recomputed when it is first mapped.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from intact.baseline.document import bind_tables
from intact.baseline.signing import PublicKey, Signer, open_envelope, seal_envelope
from intact.baseline.statement import Statement, decode_statement, encode_statement
from intact.baseline.table import MappedTable, encode_table, load_table
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError
from intact.model.layer import Baseline, Grade, LayerTable

from .atomic import PARTIAL, write_atomically

_SCHEMA = """
CREATE TABLE IF NOT EXISTS baselines (key TEXT PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS aliases (alias TEXT PRIMARY KEY, key TEXT NOT NULL REFERENCES baselines(key) ON DELETE CASCADE) STRICT;
CREATE TABLE IF NOT EXISTS layers (diff_id TEXT NOT NULL, key TEXT NOT NULL REFERENCES baselines(key) ON DELETE CASCADE,
  PRIMARY KEY (diff_id, key)) STRICT;
"""
_BUSY_TIMEOUT_S = 10.0


class _Table(MappedTable):
    """A mapped table that a weak reference can point to."""

    __slots__ = ("__weakref__",)


class StoredBaselines:
    """A BaselineStore in one directory. Safe to share between threads; two processes may share the directory."""

    def __init__(self, directory: Path, *, signer: Signer, trusted: Sequence[PublicKey] = ()) -> None:
        """`signer` is the store's own key: what it signed keeps the grade it was stored with."""
        self._tables_in = directory / "tables"
        self._signer = signer
        self._trusted = tuple(trusted)
        self._tables: WeakValueDictionary[Digest, _Table] = WeakValueDictionary()
        self._lock = threading.Lock()
        try:
            self._tables_in.mkdir(parents=True, exist_ok=True, mode=0o700)
            for partial in self._tables_in.glob(f".*{PARTIAL}"):
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise PermanentError(f"cannot use {directory}: {error.strerror}", code="Store") from None
        with _explained(directory):
            self._sql = sqlite3.connect(
                directory / "baselines.sqlite", timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
            )
            self._sql.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;" + _SCHEMA)
        self._directory = directory

    def put(self, baseline: Baseline, *, envelope: bytes | None = None) -> None:
        """Stores it, all or nothing; a baseline of the same key is replaced. Raises TemporaryError (disk full), TrustError (a foreign
        envelope that does not verify or is about something else)."""
        if envelope is None:
            envelope = seal_envelope(encode_statement(baseline), [self._signer])
        statement, _ = self._believe(envelope)
        bind_tables(statement, baseline.layers, baseline.grade)
        for layer in baseline.layers:
            self._write_table(layer)
        key = str(baseline.key)
        with self._lock, _explained(self._directory), self._transaction() as sql:
            sql.execute("DELETE FROM baselines WHERE key = ?", (key,))
            sql.execute("INSERT INTO baselines (key, envelope) VALUES (?, ?)", (key, envelope))
            sql.executemany("INSERT OR REPLACE INTO aliases (alias, key) VALUES (?, ?)", [(alias, key) for alias in statement.aliases])
            sql.executemany(
                "INSERT INTO layers (diff_id, key) VALUES (?, ?)", [(d, key) for d in {str(c.diff_id) for c in statement.layers}]
            )

    def get(self, name: str) -> Baseline | None:
        """By key or alias. Raises TrustError if what is stored does not verify, InputError if it is damaged."""
        with self._lock, _explained(self._directory):
            row = self._sql.execute(
                "SELECT key, envelope FROM baselines WHERE key = ? OR key = (SELECT key FROM aliases WHERE alias = ?) ORDER BY key = ? DESC",
                (name, name, name),
            ).fetchone()
        if row is None:
            return None
        statement, grade = self._believe(row[1])
        if str(statement.key) != row[0] or name not in (row[0], *statement.aliases):
            raise TrustError(f"the stored baseline of {name} is another image's", code="StoreMismatch", hint="the store was altered")
        return bind_tables(statement, [self._map_table(claim.root) for claim in statement.layers], grade)

    def find_layer(self, diff_id: Digest) -> LayerTable | None:
        """A layer's table from a baseline that is at least VERIFIED; None if there is none, or none that holds."""
        with self._lock, _explained(self._directory):
            rows = self._sql.execute("SELECT key FROM layers WHERE diff_id = ? ORDER BY key", (str(diff_id),)).fetchall()
        for (key,) in rows:
            try:
                baseline = self.get(key)
            except (TrustError, InputError):
                continue  # `get` of that key says so; for this layer it is as if it were not there: it is read anew
            if baseline is not None and baseline.grade >= Grade.VERIFIED:
                return next((layer for layer in baseline.layers if layer.diff_id == diff_id), None)
        return None

    def keys(self) -> tuple[Digest, ...]:
        with self._lock, _explained(self._directory):
            rows = self._sql.execute("SELECT key FROM baselines ORDER BY key").fetchall()
        return tuple(Digest.parse(key) for (key,) in rows)

    def close(self) -> None:
        with self._lock:
            self._sql.close()

    def _believe(self, envelope: bytes) -> tuple[Statement, Grade]:
        """The statement of a signed envelope. What the store signed is worth what it was worth then, everything else its signature."""
        own = self._signer.public
        opened = open_envelope(envelope, trusted=(own, *self._trusted))
        statement = decode_statement(opened.payload)
        return statement, statement.grade if opened.signer == own.id else Grade.SIGNED

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield self._sql
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        self._sql.execute("COMMIT")

    def _path(self, root: Digest) -> Path:
        return self._tables_in / f"{root.hex}.table"

    def _write_table(self, layer: LayerTable) -> None:
        path = self._path(layer.root)
        try:
            self._map_table(layer.root)
            return
        except IntactError:
            pass  # not there, or damaged: written anew
        data = layer.data if isinstance(layer, MappedTable) else encode_table(layer)
        write_atomically(path, [data], mode=0o600)

    def _map_table(self, root: Digest) -> _Table:
        with self._lock:
            known = self._tables.get(root)
        if known is not None:
            return known
        path = self._path(root)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                data = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            raise InputError(
                f"the stored table {path.name} cannot be read: {error}", code="StoreDamaged", hint="build the baseline again"
            ) from None
        table = _Table(load_table(data).data)
        if table.root != root:
            raise TrustError(f"the stored table {path.name} is another one", code="StoreMismatch", hint="the store was altered")
        with self._lock:
            return self._tables.setdefault(root, table)


@contextmanager
def _explained(where: Path) -> Iterator[None]:
    """SQLite's errors, by what the caller can do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise TemporaryError(
                f"cannot write {where}: the disk is full", code="DiskFull", hint="make room; nothing was changed"
            ) from None
        raise TemporaryError(f"the baseline store {where}: {error}", code="Store") from None
    except sqlite3.DatabaseError as error:
        raise PermanentError(
            f"the baseline store {where} is damaged: {error}", code="StoreDamaged", hint="move it away and rebuild"
        ) from None
