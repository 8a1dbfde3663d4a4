"""Which baselines that people supplied nodes may have been given, in SQL: what is remembered of them outlives the declaration."""

from __future__ import annotations

from sqlalchemy import delete, select

from intact.model.digest import Digest

from .database import Database, insert_new
from .schema import SERVED_BASELINES

MAX_SERVED = 10_000
"""The oldest are forgotten."""


class SqlServed:
    """All replicas share what is remembered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remember(self, root: Digest, key: Digest, at: float) -> None:
        """That nodes may be given the baseline with this root, of the image `key`; durable on return."""
        table = SERVED_BASELINES
        with self._database.write() as connection:
            insert_new(connection, table, ("root",), {"root": str(root), "key": str(key), "at": at})
            newest = select(table.c.root).order_by(table.c.at.desc(), table.c.root).limit(MAX_SERVED)
            connection.execute(delete(table).where(table.c.root.not_in(newest)))

    def read(self) -> dict[Digest, Digest]:
        """Root → key, those that were given out first first."""
        table = SERVED_BASELINES
        with self._database.read() as connection:
            rows = connection.execute(select(table.c.root, table.c.key).order_by(table.c.at, table.c.root)).all()
        return {Digest.parse(row.root): Digest.parse(row.key) for row in rows}
