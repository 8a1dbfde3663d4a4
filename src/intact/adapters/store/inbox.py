"""What replicas of a controller hand to the one that acts: reports up, commands down, and who that is. In SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sqlalchemy import delete, func, select

from intact.adapters.codec import decode, encode
from intact.model.errors import TemporaryError
from intact.model.seam import Command, Report

from . import bell
from .database import Database, insert_new, upsert
from .schema import ACTING, COMMANDS, INBOX

PAGE = 50
PAGE_BYTES = 4 << 20
"""Reports are read in pages of at most this, or one by one where they are larger."""
MAX_PER_NODE = 500
"""Reports of one node that nobody has taken in yet: beyond that the node keeps them itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A report that was stored and not yet taken in; `at` is when it came, Unix seconds."""

    seq: int
    node: str
    at: float
    document: bytes

    def read(self) -> Report:
        """Raises InputError where this version cannot read it."""
        return decode(Report, self.document)


class SqlInbox:
    """Reports on their way to the replica that acts, those of one node in the order in which they came."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, node: str, report: Report, at: float) -> None:
        """Stores the report, once; durable on return. Raises TemporaryError when the node has `MAX_PER_NODE` waiting."""
        document = encode(report)
        with self._database.write() as connection:
            waiting = connection.scalar(select(func.count()).select_from(INBOX).where(INBOX.c.node == node)) or 0
            if waiting >= MAX_PER_NODE:
                raise TemporaryError(f"{waiting} reports of {node} wait already", code="InboxFull", hint="does a controller act?")
            if insert_new(connection, INBOX, ("node", "id"), {"node": node, "id": report.id, "at": at, "document": document}):
                bell.ring(connection, bell.INBOX)

    def next(self, after: int, without: Collection[str] = ()) -> tuple[Waiting, ...]:
        """The first ones behind `after` of nodes that are not among `without`: as many as are read at once, one at least."""
        some = select(INBOX).where(INBOX.c.seq > after, INBOX.c.node.not_in(sorted(without))).order_by(INBOX.c.seq).limit(PAGE).subquery()
        size = func.length(some.c.document)
        sized = select(some, size.label("size"), func.sum(size).over(order_by=some.c.seq).label("total")).subquery()
        query = select(sized).where((sized.c.total <= PAGE_BYTES) | (sized.c.total == sized.c.size)).order_by(sized.c.seq)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(Waiting(seq=row.seq, node=row.node, at=row.at, document=row.document) for row in rows)

    def remove(self, seqs: Collection[int]) -> None:
        with self._database.write() as connection:
            connection.execute(delete(INBOX).where(INBOX.c.seq.in_(sorted(seqs))))

    def __len__(self) -> int:
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(INBOX)) or 0


class SqlCommands:
    """Commands that wait for their node, whichever replica it talks to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, command: Command) -> None:
        values = {"node": command.node, "expires_at": command.expires_at, "document": encode(command)}
        with self._database.write() as connection:
            upsert(connection, COMMANDS, {"id": command.id}, values)
            bell.ring(connection, bell.COMMANDS)

    def settle(self, command_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(COMMANDS).where(COMMANDS.c.id == command_id))

    def live(self, now: float) -> tuple[Command, ...]:
        """All that have not expired."""
        with self._database.read() as connection:
            documents = connection.scalars(select(COMMANDS.c.document).where(COMMANDS.c.expires_at > now).order_by(COMMANDS.c.id)).all()
        return tuple(decode(Command, document) for document in documents)

    def forget_before(self, at: float) -> int:
        with self._database.write() as connection:
            return connection.execute(delete(COMMANDS).where(COMMANDS.c.expires_at < at)).rowcount


class SqlTerms:
    """Who acts: a number that grows with every replica that begins to. What a replica of an earlier term tries to write is refused."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, holder: str, now: float, *, after: int = 0) -> int:
        """The caller acts from now on; every transaction of the one before has ended, and it begins no other. `after`: a term that
        was begun too, whatever stands there now."""
        with self._database.transaction(), self._database.write() as connection:
            term = max(connection.scalar(select(ACTING.c.term)) or 0, after) + 1
            upsert(connection, ACTING, {"id": 1}, {"term": term, "holder": holder, "since": now})
        return term

    def current(self) -> int:
        """0 if nobody ever acted."""
        with self._database.read() as connection:
            return connection.scalar(select(ACTING.c.term)) or 0


class TermTransactions:
    """`decide.ports.Transactions` of the replica that began `term`. Raises TemporaryError `NotActing` when another began after it."""

    def __init__(self, database: Database, term: int) -> None:
        self._database, self._terms, self._term = database, SqlTerms(database), term

    def transaction(self) -> AbstractContextManager[None]:
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._database.transaction():
            if self._terms.current() != self._term:
                raise TemporaryError("another replica acts now", code="NotActing")
            yield
