"""A state directory that cannot be used says why and what to do."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from intact.adapters.store.database import FILE_NAME, Database
from intact.adapters.store.schema import HEAD
from intact.model.errors import InputError, PermanentError


def test_a_newer_schema_is_refused_and_not_touched(tmp_path: Path) -> None:
    database = Database.in_directory(tmp_path)
    with database.write() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = '9999'")
    database.close()
    with pytest.raises(InputError, match=f"newer Intact .schema 9999, this program knows {HEAD}"):
        Database.in_directory(tmp_path)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("create table songs (title text)")
    with pytest.raises(InputError, match="another program"):
        Database.in_directory(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but long enough to be looked at\n" * 100)
    with pytest.raises(PermanentError, match="damaged"):
        Database.in_directory(tmp_path)


def test_reading_never_makes_a_database(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        Database.in_directory(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / FILE_NAME).touch()
    with pytest.raises(InputError, match="nothing was recorded"):
        Database.in_directory(tmp_path, read_only=True)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    Database.in_directory(tmp_path).close()
    database = Database.in_directory(tmp_path, read_only=True)
    with pytest.raises(PermanentError, match="for reading only"), database.transaction():
        pass
    database.close()


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    Database.open(f"sqlite:///{tmp_path}/new/state.db").close()
    assert stat.S_IMODE((tmp_path / "new" / "state.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_commit_is_synced_to_disk(tmp_path: Path) -> None:
    database = Database.in_directory(tmp_path)
    with database.write() as connection:
        assert connection.exec_driver_sql("pragma synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("pragma foreign_keys").scalar() == 1
    database.close()
