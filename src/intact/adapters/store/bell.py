"""Telling other processes at once that there is something new in the database: LISTEN and NOTIFY of PostgreSQL.

In: a name, rung inside the transaction that writes what is new. Out: whoever waits for that name wakes when the transaction is there to be
read. A ring may be lost with a connection: who waits looks anyway when its time is up. On SQLite, where there is no other process, nothing
rings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy import Connection, text

from .database import Database

log = structlog.get_logger()

INBOX, COMMANDS = "intact_inbox", "intact_commands"


def ring(connection: Connection, name: str) -> None:
    """Wakes everybody who waits for `name`, when the transaction that is open on `connection` has ended well."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_notify(:name, '')"), {"name": name})


class Bell:
    """Waits for rings of one name, on a connection of its own. For one thread."""

    def __init__(self, database: Database, name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._database, self._name, self._sleep = database, name, sleep
        self._ear: Any = None
        self._is_deaf = False

    def wait(self, timeout_s: float) -> bool:
        """Returns at a ring, or after `timeout_s` seconds; whether it rang, or may have rung unheard. Never raises: without a connection it
        only waits."""
        if self._ear is None:
            return self._listen(timeout_s)
        try:
            return any(True for _ in self._ear.notifies(timeout=timeout_s, stop_after=1))
        except Exception as error:  # whatever the driver says: the next wait begins anew
            log.info("bell_lost", name=self._name, reason=type(error).__name__)
            self.close()
            return True

    def close(self) -> None:
        if self._ear is not None:
            with suppress(Exception):  # it is gone already, perhaps
                self._ear.close()
            self._ear = None

    def _listen(self, timeout_s: float) -> bool:
        try:
            self._ear = self._database.open_ear()
            if self._ear is not None:
                self._ear.execute(f"LISTEN {self._name}")
                self._is_deaf = False
                return True
        except Exception as error:
            if not self._is_deaf:
                log.info("bell_not_heard", name=self._name, reason=str(error))
            self._is_deaf = True
            self.close()
        self._sleep(timeout_s)
        return False
