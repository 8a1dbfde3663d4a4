"""The rows of a database as text that any other database of ours takes: what a backup is made of, and the way from SQLite to PostgreSQL.

One JSON array a row: text, numbers, null, and bytes as `{"b64": …}`. A table's first line names it and its columns. Rows go out of one
snapshot, and come in at the revision that they were written at; an older revision is brought up to date afterwards. Not among them: the
index of baselines (`baseline.ports` hands those out whole), and what says which revision the database is of.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, column, delete, func, insert, inspect, select, table, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from intact.model.errors import InputError

from .database import Database
from .migrate import read_revision, upgrade
from .schema import (
    BASELINE_ALIASES,
    BASELINE_LAYERS,
    BASELINE_TABLES,
    BASELINES,
    HEAD,
    KNOWN,
    LAYER_TABLES,
    METADATA,
    SCHEMA_VERSION,
)
from .sqlite import SqliteFile

LEFT_OUT = (SCHEMA_VERSION, BASELINES, BASELINE_ALIASES, BASELINE_LAYERS, BASELINE_TABLES, LAYER_TABLES)
PORTABLE: tuple[Table, ...] = tuple(one for one in METADATA.sorted_tables if one not in LEFT_OUT)
"""Each after those that its rows refer to."""
REVISION = HEAD
BATCH = 500
MAX_LINE_BYTES = 64 << 20
_PLAIN = (str, int, float, type(None))


def export_rows(database: Database) -> Iterator[tuple[str, Iterator[bytes]]]:
    """(table, its lines) for every table, all of one state of the database. A table's lines are to be read before the next is asked for.
    Raises InputError for a database that another version wrote: reading changes nothing, so it is not brought up to date."""
    with database.read() as connection:
        revision = read_revision(connection, database.name)
        if revision != HEAD:
            raise InputError(
                f"{database.name} was written by an older Intact (schema {revision}, this program knows {HEAD})",
                hint="run that version, or start this one once: it brings the database up to date",
            )
        for one in PORTABLE:
            yield one.name, _export_table(connection, one)


def _export_table(connection: Connection, one: Table) -> Iterator[bytes]:
    yield _line({"columns": [c.name for c in one.columns], "table": one.name})
    query = select(one).order_by(*one.primary_key.columns)
    for row in connection.execution_options(stream_results=True, yield_per=BATCH).execute(query):
        yield _line([_encode(value) for value in row])


def import_rows(connection: Connection, unverified_lines: Iterable[bytes], *, count: Callable[[int], None] = lambda bytes_: None) -> None:
    """The lines of one table → its rows, in the transaction that is open on `connection`, whose database has that table and no row of it.
    Raises InputError for what is no such table."""
    lines = iter(unverified_lines)
    head = _parse(next(lines, b""), dict)
    name, names = head.get("table"), head.get("columns")
    known = {one.name for one in PORTABLE}
    if not isinstance(name, str) or name not in known or not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise InputError(f"the backup has rows of {str(name)[:100]!r}, which is no table of ours", code="BackupRows")
    there = {one["name"] for one in inspect(connection).get_columns(name)} if inspect(connection).has_table(name) else set()
    if set(names) != there or len(set(names)) != len(names):
        raise InputError(f"the table {name} of the backup has other columns than its revision", code="BackupRows")
    target = table(name, *(column(one) for one in names))
    rows: list[dict[str, Any]] = []
    for line in lines:
        values = _parse(line, list)
        if len(values) != len(names):
            raise InputError(f"a row of {name} in the backup has {len(values)} columns instead of {len(names)}", code="BackupRows")
        rows.append(dict(zip(names, map(_decode, values), strict=True)))
        count(len(line))
        if len(rows) == BATCH:
            connection.execute(insert(target), rows)
            rows = []
    if rows:
        connection.execute(insert(target), rows)


def make_database_at(file: Path, revision: str, fill: Callable[[Connection], None]) -> None:
    """Makes an SQLite database of an earlier revision, or of this one, and fills it; `Database` brings it up to date when it opens it.

    Raises InputError for a revision that this program does not know, and for rows that do not fit together.
    """
    if revision not in KNOWN:
        raise InputError(
            f"the backup was made by a newer Intact (schema {revision[:20]}, this program knows {HEAD})",
            code="BackupVersion",
            hint="restore it with that version, or one after it",
        )
    backend = SqliteFile(file)
    engine = backend.make_engine(read_only=False)
    try:
        with engine.connect().execution_options(intact_write=True) as connection, connection.begin():
            upgrade(connection, None, revision)
            fill(connection)
    except IntegrityError as error:
        raise InputError(f"the rows of the backup do not fit together ({error.orig})", code="BackupRows") from None
    except DBAPIError as error:
        assert error.orig is not None, "a driver's error"
        raise backend.translate(error.orig) from None
    except (StatementError, OverflowError, UnicodeError) as error:
        raise InputError(f"a row of the backup has a value that no column holds ({type(error).__name__})", code="BackupRows") from None
    finally:
        engine.dispose()


def is_empty(database: Database) -> bool:
    """Whether nothing was ever recorded in it."""
    with database.read() as connection:
        return all(connection.scalar(select(func.count()).select_from(one)) == 0 for one in PORTABLE)


def copy_rows(source: Database, target: Database) -> None:
    """Replaces every row of `target` by those of `source`, both up to date, in the transaction that is open in this thread."""
    with target.write() as connection:
        for one in reversed(PORTABLE):
            connection.execute(delete(one))
        for _, lines in export_rows(source):
            import_rows(connection, lines)
        if connection.dialect.name == "postgresql":
            _continue_counting(connection)


def _continue_counting(connection: Connection) -> None:
    """Numbers that the database counts up itself go on behind the highest (PostgreSQL: Sequence Manipulation Functions)."""
    for one in PORTABLE:
        for key in one.primary_key.columns:
            sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:one, :key)"), {"one": one.name, "key": key.name})
            if sequence is not None:
                highest = connection.scalar(select(func.max(key)))
                if highest is not None:
                    connection.execute(select(func.setval(sequence, highest)))


def _encode(value: object) -> object:
    if isinstance(value, bytes | memoryview):
        return {"b64": base64.b64encode(value).decode()}
    if not isinstance(value, _PLAIN):
        raise TypeError(f"no column of ours holds a {type(value).__name__}")
    return value


def _decode(value: object) -> object:
    if isinstance(value, dict):
        if set(value) != {"b64"} or not isinstance(value["b64"], str):
            raise InputError("a row of the backup has a value that no column holds", code="BackupRows")
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error:
            raise InputError("a row of the backup has bytes that are not base64", code="BackupRows") from None
    if not isinstance(value, _PLAIN) or isinstance(value, bool):
        raise InputError("a row of the backup has a value that no column holds", code="BackupRows")
    return value


def _parse(line: bytes, kind: type) -> Any:
    try:
        found = json.loads(line) if len(line) <= MAX_LINE_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise InputError("a row of the backup is malformed", code="BackupRows")
    return found


def _line(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
