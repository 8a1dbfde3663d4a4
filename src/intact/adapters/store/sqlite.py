"""One SQLite file of one process.

Several threads may read while one writes; writers wait for each other. A transaction that returned is on disk (WAL, `synchronous=FULL`:
sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError

BUSY_TIMEOUT_S = 10.0


class SqliteFile:
    """Implements `backend.Backend`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writing = threading.RLock()

    @property
    def name(self) -> str:
        return str(self._file)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        return (sqlite3.Error,)

    def make_engine(self, *, read_only: bool) -> Engine:
        """Makes the file where it is missing (never if `read_only`). Raises InputError for a missing one, PermanentError for one that
        cannot be made."""
        try:
            if not read_only:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            elif not self._file.exists():
                raise InputError(f"there is no {self._file}", hint="give the state directory of the process that recorded")
        except OSError as error:
            raise PermanentError(f"cannot open {self._file}: {error.strerror}", hint="check the state directory and its owner") from None
        engine = create_engine("sqlite://", creator=lambda: self._connect(read_only=read_only), poolclass=QueuePool, hide_parameters=True)
        event.listen(engine, "begin", _begin)
        return engine

    def open_ear(self) -> None:
        return None

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._writing:
            yield

    def hold_off_writers(self, connection: Connection) -> None:
        """Every write transaction here holds off the others from its first moment."""

    @contextmanager
    def keeping_copy(self, label: str) -> Iterator[None]:
        copy = self._file.with_name(f"{self._file.name}.{label}")
        try:
            copy.unlink(missing_ok=True)
            os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            message = f"no copy of {self._file} can be made as {copy.name}: {error.strerror}; it was not brought up to date"
            raise PermanentError(message, hint="check the state directory and its owner") from None
        try:
            with closing(self._connect(read_only=False)) as connection:
                connection.execute("VACUUM INTO ?", (str(copy),))
        except BaseException:
            copy.unlink()
            raise
        yield
        copy.unlink()

    def translate(self, error: BaseException) -> IntactError:
        file, name = self._file, str(getattr(error, "sqlite_errorname", ""))
        if name == "SQLITE_FULL":
            hint = f"free space in {file.parent}; nothing was half-written, what was not stored is sent again"
            return TemporaryError(f"the disk that holds {file} is full", code="DiskFull", hint=hint)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return TemporaryError(
                f"{file} is locked by another process", code="StoreLocked", hint="only one process may write a state directory"
            )
        if name.startswith("SQLITE_IOERR"):
            hint = f"check the disk, and the space left in {file.parent}"
            return TemporaryError(f"I/O error on {file} ({name})", code="StoreIO", hint=hint)
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return PermanentError(
                f"{file} is damaged ({error})", code="StoreDamaged", hint="restore it from a copy, or begin a new state directory"
            )
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return PermanentError(
                f"{file} cannot be opened or written ({error})", code="StoreDenied", hint="check its owner and mode, and the mount"
            )
        return PermanentError(f"{file}: {error}", code="Store")

    def _connect(self, *, read_only: bool) -> sqlite3.Connection:
        uri = f"{self._file.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


def _begin(connection: Connection) -> None:
    """A writer takes the write lock at once: taking it halfway fails instead of waiting (sqlite.org/lang_transaction.html)."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("intact_write") else "BEGIN")
