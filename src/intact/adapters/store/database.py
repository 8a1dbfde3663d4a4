"""One database of the cluster's half: connections, transactions, the schema's version, and errors that say what to do.

In: a file (SQLite, for one process), or a URL (also PostgreSQL, for many). A transaction that returned is durable; one that raised left
nothing behind.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from intact.model.errors import InputError, PermanentError, TemporaryError

from . import migrate
from .backend import Backend
from .schema import HEAD
from .sqlite import SqliteFile

FILE_NAME = "intact.db"
SQLITE_SCHEME = "sqlite:///"


@dataclass(slots=True)
class _Open:
    """A thread's open write transaction."""

    connection: Connection
    is_exclusive: bool
    failure: BaseException | None = None


class Database:
    """The stores of this package share one; `transaction` makes what several of them write one step. Thread-safe."""

    def __init__(self, backend: Backend, *, read_only: bool = False) -> None:
        """Opens it, makes its tables where there are none, and brings an older version's up to date (neither if `read_only`).

        Raises InputError for one that is missing, not ours, or of a newer version, and else as `transaction` does.
        """
        self._backend = backend
        self._read_only = read_only
        self._current = threading.local()
        self._engine = backend.make_engine(read_only=read_only)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @classmethod
    def in_directory(cls, state_dir: Path, *, read_only: bool = False) -> Self:
        """The database of a process whose state is in `state_dir`."""
        return cls(SqliteFile(state_dir / FILE_NAME), read_only=read_only)

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Self:
        """`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`."""
        if url.startswith(SQLITE_SCHEME):
            return cls(SqliteFile(Path(url.removeprefix(SQLITE_SCHEME))), read_only=read_only)
        from .postgres import PostgresServer

        return cls(PostgresServer(url), read_only=read_only)

    @property
    def name(self) -> str:
        """What people know it by."""
        return self._backend.name

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    def close(self) -> None:
        self._engine.dispose()

    def transaction(self) -> AbstractContextManager[None]:
        """Everything written inside, by whichever store, is kept together or not at all; durable when the block ends. May be nested.

        Waits for every other such transaction, of any process: what is read inside stays true until the end. Raises TemporaryError (disk
        full, server gone, waited too long) or PermanentError (damaged, no right to write).
        """
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        outer = self._open
        if outer is None:
            with self._begin(exclusive=True):
                yield
            return
        with self._errors(), outer.connection.begin_nested():
            self._hold_off_writers(outer)
            failed_before = outer.failure
            try:
                yield
                if outer.failure is not failed_before:
                    raise _doomed(outer.failure)
            finally:
                outer.failure = failed_before  # what failed inside is undone with the block

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A connection inside a transaction as `transaction` begins it, or inside the open one, without a step of its own there: what fails
        inside ends that one too."""
        outer = self._open
        if outer is None:
            with self._begin(exclusive=True) as connection:
                yield connection
            return
        with self.write() as connection:
            self._hold_off_writers(outer)
            yield connection

    def _hold_off_writers(self, opened: _Open) -> None:
        if not opened.is_exclusive:
            self._backend.hold_off_writers(opened.connection)
            opened.is_exclusive = True

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection inside a write transaction: the thread's open one, or a new one that ends with the block.

        A new one does not wait for others: what it writes must be right whatever they do meanwhile. What fails in an open one is not
        swallowed: that transaction keeps nothing.
        """
        outer = self._open
        if outer is None:
            with self._begin(exclusive=False) as connection:
                yield connection
            return
        try:
            with self._errors():
                yield outer.connection
        except BaseException as error:
            outer.failure = error
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database: the thread's open transaction, or the last one that was committed."""
        outer = self._open
        if outer is not None:
            with self._errors():
                yield outer.connection
            return
        with self._errors(), self._engine.connect() as connection:
            if self.dialect == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def open_ear(self) -> Any:
        """A driver's connection that hears what other processes ring, the caller's to close; None where there are no other processes."""
        with self._errors():
            return self._backend.open_ear()

    @property
    def _open(self) -> _Open | None:
        return getattr(self._current, "open", None)

    @contextmanager
    def _begin(self, *, exclusive: bool) -> Iterator[Connection]:
        if self._read_only:
            raise PermanentError(f"{self.name} was opened for reading only")
        with (
            self._backend.writing(),
            self._errors(),
            self._engine.connect().execution_options(intact_write=True) as connection,
            connection.begin(),
        ):
            if exclusive:
                self._backend.hold_off_writers(connection)
            self._current.open = opened = _Open(connection, exclusive)
            try:
                yield connection
                if opened.failure is not None:
                    raise _doomed(opened.failure)
            finally:
                self._current.open = None

    def _prepare(self) -> None:
        """1. An older database is brought up to date, with a copy kept until it worked. 2. Of several that try, one does."""
        with self.read() as connection:
            revision = migrate.read_revision(connection, self.name)
        if self._read_only:
            if revision is None:
                raise InputError(f"{self.name} is empty: nothing was recorded in it")
            return
        if revision == HEAD:
            return
        if revision is None:
            self._upgrade()
            return
        with self._errors(), self._backend.keeping_copy(f"before-{HEAD}"):  # 1
            self._upgrade()

    def _upgrade(self) -> None:
        with self._begin(exclusive=True) as connection:
            revision = migrate.read_revision(connection, self.name)  # 2
            if revision != HEAD:
                migrate.upgrade(connection, revision)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            # Not `from error`: a driver's error may hold the whole connection, with its password.
            raise self._backend.translate(error.orig or error) from None
        except self._backend.errors as error:
            raise self._backend.translate(error) from None
        except PoolTimeout:
            raise TemporaryError(f"{self.name} is busy: no connection became free in time", code="StoreLocked") from None


def upsert(connection: Connection, table: Table, keys: dict[str, Any], values: dict[str, Any]) -> None:
    """Updates the row with `keys`, or inserts it: one step, whoever else does the same at the same time."""
    new = _insert(connection, table).values(keys | values)
    connection.execute(new.on_conflict_do_update(index_elements=list(keys), set_=values))


def insert_new(connection: Connection, table: Table, keys: tuple[str, ...], row: dict[str, Any]) -> bool:
    """Inserts `row`, unless there is one with the same `keys`; returns whether it did."""
    return bool(insert_all_new(connection, table, keys, [row]))


def insert_all_new(connection: Connection, table: Table, keys: tuple[str, ...], rows: Sequence[dict[str, Any]]) -> set[Any]:
    """Inserts `rows`, except those of which there is one with the same `keys`; returns the values of the last key of the new ones."""
    if not rows:
        return set()
    new = _insert(connection, table).on_conflict_do_nothing(index_elements=list(keys))
    return set(connection.scalars(new.returning(table.c[keys[-1]]), list(rows)))


def _insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _doomed(failure: BaseException | None) -> BaseException:
    """A step inside failed, and its caller went on as if it had not."""
    assert failure is not None
    return failure
