"""What differs between the databases that the stores are kept in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from intact.model.errors import IntactError


class Backend(Protocol):
    """One database somewhere."""

    @property
    def name(self) -> str:
        """What people know it by; never holds a password."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its driver raises."""

    def make_engine(self, *, read_only: bool) -> Engine:
        """Connections that are made when they are first needed. A write is marked by the execution option `intact_write`."""

    def open_ear(self) -> Any:
        """A driver's connection in autocommit on which notifications can be heard; None where there are none."""

    def writing(self) -> AbstractContextManager[None]:
        """Held by a thread while it writes."""

    def hold_off_writers(self, connection: Connection) -> None:
        """Waits until this transaction is the only one of its kind in all processes, and keeps it so until it ends."""

    def keeping_copy(self, label: str) -> AbstractContextManager[None]:
        """Keeps the database as it is while something risky happens, until it has worked."""

    def translate(self, error: BaseException) -> IntactError:
        """A driver's error as what the caller can do about it."""
