"""Which version a database is of, and bringing an older one up to this program's.

In: a connection. Out: the revision that the database is at, or the database at `HEAD`. Never goes back, never touches a newer one.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, func, inspect, select, text

from intact.model.errors import InputError

from .schema import HEAD, KNOWN, SCHEMA_VERSION

ALEMBIC_TABLE = "alembic_version"


def read_revision(connection: Connection, name: str) -> str | None:
    """The database's revision, None if nothing was ever made in it. `name` is what people call it.

    1. The revision that a migration wrote. 2. Before there were migrations, a number. 3. No table of ours: empty, or somebody else's.
    Raises InputError for a database of another program or of a newer version.
    """
    tables = set(inspect(connection).get_table_names())
    revision: str | None = None
    if ALEMBIC_TABLE in tables:  # 1
        revision = connection.scalar(text(f"SELECT version_num FROM {ALEMBIC_TABLE}"))
    if revision is None and SCHEMA_VERSION.name in tables:  # 2
        version = connection.scalar(select(func.max(SCHEMA_VERSION.c.version)))
        revision = None if version is None else f"{version:04}"
    if revision is None:  # 3
        if tables - {SCHEMA_VERSION.name, ALEMBIC_TABLE}:
            raise InputError(f"{name} is a database of another program", hint="give another one, or another state directory")
        return None
    if revision not in KNOWN:
        raise InputError(
            f"{name} was written by a newer Intact (schema {revision}, this program knows {HEAD})",
            hint="run that version, or one after it",
        )
    return revision


def upgrade(connection: Connection, revision: str | None, to: str = "head") -> None:
    """Brings the database from `revision` to `HEAD`, or to another one behind it, in the transaction that is open on `connection`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    if revision is not None and ALEMBIC_TABLE not in inspect(connection).get_table_names():
        command.stamp(config, revision)
    command.upgrade(config, to)
