"""One SQLite database of one process: connections, transactions, the schema's version, and errors that say what to do.

Several threads may read while one writes; writers wait for each other. A transaction that returned is on disk (WAL, `synchronous=FULL`:
sqlite.org/pragma.html#pragma_synchronous); one that raised left nothing behind.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Table, create_engine, event, func, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError

from .schema import METADATA, SCHEMA_VERSION, VERSION

FILE_NAME = "intact.db"
BUSY_TIMEOUT_S = 10.0


class Database:
    """The stores of this package share one; `transaction` makes what several of them write one step."""

    def __init__(self, file: Path, *, read_only: bool = False) -> None:
        """Opens `file`, and makes it where it is missing (never if `read_only`).

        Raises InputError for a file that is missing, not ours, or of a newer version, and else as `transaction` does.
        """
        self._file = file
        self._read_only = read_only
        self._writing = threading.RLock()
        self._current = threading.local()
        self._prepare_file()
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=QueuePool)
        event.listen(self._engine, "begin", _begin)
        try:
            self._check_version()
        except BaseException:
            self.close()
            raise

    @classmethod
    def in_directory(cls, state_dir: Path, *, read_only: bool = False) -> Self:
        """The database of a process whose state is in `state_dir`."""
        return cls(state_dir / FILE_NAME, read_only=read_only)

    def close(self) -> None:
        self._engine.dispose()

    def transaction(self) -> AbstractContextManager[None]:
        """Everything written inside, by whichever store, is kept together or not at all; durable when the block ends. May be nested.

        Raises TemporaryError (disk full, locked, I/O error) or PermanentError (damaged, no right to write).
        """
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.write():
            yield

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection inside a write transaction: the thread's open one, or a new one."""
        if self._read_only:
            raise PermanentError(f"{self._file} was opened for reading only")
        outer: Connection | None = getattr(self._current, "connection", None)
        if outer is not None:
            with outer.begin_nested():
                yield outer
            return
        with (
            self._writing,
            self._errors(),
            self._engine.connect().execution_options(intact_write=True) as connection,
            connection.begin(),
        ):
            self._current.connection = connection
            try:
                yield connection
            finally:
                self._current.connection = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database: the thread's open transaction, or the last one that was committed."""
        outer: Connection | None = getattr(self._current, "connection", None)
        if outer is not None:
            yield outer
            return
        with self._errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    def _connect(self) -> sqlite3.Connection:
        uri = f"{self._file.absolute().as_uri()}?mode={'ro' if self._read_only else 'rw'}"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        if not self._read_only:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare_file(self) -> None:
        try:
            if not self._read_only:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            elif not self._file.exists():
                raise InputError(f"there is no {self._file}", hint="give the state directory of the process that recorded")
        except OSError as error:
            raise PermanentError(f"cannot open {self._file}: {error.strerror}", hint="check the state directory and its owner") from None

    def _check_version(self) -> None:
        with self.read() as connection:
            found = set(inspect(connection).get_table_names())
            version = connection.scalar(select(func.max(SCHEMA_VERSION.c.version))) if SCHEMA_VERSION.name in found else None
        if version is None and found - {SCHEMA_VERSION.name}:
            raise InputError(f"{self._file} is a database of another program", hint="give another state directory")
        if version is not None and version > VERSION:
            raise InputError(
                f"{self._file} was written by a newer Intact (schema {version}, this program knows {VERSION})",
                hint="run that version, or one after it",
            )
        if version is None and not self._read_only:
            with self.write() as connection:
                METADATA.create_all(connection)
                if connection.scalar(select(func.count()).select_from(SCHEMA_VERSION)) == 0:
                    connection.execute(insert(SCHEMA_VERSION).values(version=VERSION))
        elif version is None:
            raise InputError(f"{self._file} is empty: nothing was recorded in it")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _translate(error.orig, self._file) from error
        except sqlite3.Error as error:
            raise _translate(error, self._file) from error


def replace_row(connection: Connection, table: Table, keys: dict[str, Any], values: dict[str, Any]) -> None:
    """Updates the row with `keys`, or inserts it. Only inside a write transaction, which holds off every other writer."""
    where = [table.c[name] == value for name, value in keys.items()]
    if connection.execute(update(table).where(*where).values(values)).rowcount == 0:
        connection.execute(insert(table).values(keys | values))


def _begin(connection: Connection) -> None:
    """A writer takes the write lock at once: taking it halfway fails instead of waiting (sqlite.org/lang_transaction.html)."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("intact_write") else "BEGIN")


def _translate(error: BaseException | None, file: Path) -> IntactError:
    name = str(getattr(error, "sqlite_errorname", ""))
    if name == "SQLITE_FULL":
        hint = f"free space in {file.parent}; nothing was half-written, what was not stored is sent again"
        return TemporaryError(f"the disk that holds {file} is full", code="DiskFull", hint=hint)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return TemporaryError(
            f"{file} is locked by another process", code="StoreLocked", hint="only one process may write a state directory"
        )
    if name.startswith("SQLITE_IOERR"):
        return TemporaryError(f"I/O error on {file} ({name})", code="StoreIO", hint=f"check the disk, and the space left in {file.parent}")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return PermanentError(
            f"{file} is damaged ({error})", code="StoreDamaged", hint="restore it from a copy, or begin a new state directory"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return PermanentError(
            f"{file} cannot be opened or written ({error})", code="StoreDenied", hint="check its owner and mode, and the mount"
        )
    return PermanentError(f"{file}: {error}", code="Store")
