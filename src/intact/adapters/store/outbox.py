"""Alerts on their way, in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select, update

from intact.adapters.codec import decode, encode
from intact.model.alert import Alert
from intact.model.finding import Level
from intact.notify.ports import Counts, Queued, Suppressed

from .database import Database, insert_all_new
from .schema import OUTBOX

PENDING, SENT, DEAD, SUPPRESSED, TOLD = "pending", "sent", "dead", "suppressed", "told"
"""`told`: suppressed, and told as part of a number."""


class SqlOutbox:
    """`notify.ports.Outbox` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, alert: Alert, sinks: Sequence[str], now: float) -> int:
        document = encode(alert)
        with self._database.write() as connection:
            rows = [
                {
                    "alert_id": alert.id,
                    "sink": sink,
                    "incident_id": alert.incident_id,
                    "level": int(alert.level),
                    "state": PENDING,
                    "attempts": 0,
                    "queued_at": now,
                    "next_at": now,
                    "error": "",
                    "document": document,
                }
                for sink in sinks
            ]
            return len(insert_all_new(connection, OUTBOX, ("alert_id", "sink"), rows))

    def next_due(self, sink: str, now: float) -> Queued | None:
        older = OUTBOX.alias("older")
        blocked = (
            select(older.c.seq)
            .where(older.c.sink == sink, older.c.state == PENDING, older.c.incident_id == OUTBOX.c.incident_id, older.c.seq < OUTBOX.c.seq)
            .exists()
        )
        query = (
            select(OUTBOX)
            .where(OUTBOX.c.sink == sink, OUTBOX.c.state == PENDING, OUTBOX.c.next_at <= now, ~blocked)
            .order_by(OUTBOX.c.seq)
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Queued(seq=row.seq, alert=decode(Alert, row.document), attempts=row.attempts, queued_at=row.queued_at)

    def next_at(self, sink: str) -> float | None:
        older = OUTBOX.alias("older")
        heads = select(func.min(older.c.seq)).where(older.c.sink == sink, older.c.state == PENDING).group_by(older.c.incident_id)
        with self._database.read() as connection:
            at: float | None = connection.scalar(select(func.min(OUTBOX.c.next_at)).where(OUTBOX.c.seq.in_(heads)))
        return at

    def mark_sent(self, sink: str, seq: int) -> None:
        self._change(sink, seq, state=SENT, error="")

    def mark_retry(self, sink: str, seq: int, *, at: float, error: str) -> None:
        self._change(sink, seq, attempts=OUTBOX.c.attempts + 1, next_at=at, error=error)

    def mark_dead(self, sink: str, seq: int, *, error: str) -> None:
        self._change(sink, seq, state=DEAD, error=error)

    def mark_suppressed(self, sink: str, seq: int) -> None:
        self._change(sink, seq, state=SUPPRESSED)

    def suppressed(self, sink: str) -> Suppressed | None:
        query = select(func.count(), func.min(OUTBOX.c.seq), func.max(OUTBOX.c.seq), func.max(OUTBOX.c.level))
        with self._database.read() as connection:
            count, first, last, level = connection.execute(query.where(OUTBOX.c.sink == sink, OUTBOX.c.state == SUPPRESSED)).one()
        return Suppressed(count=count, first_seq=first, last_seq=last, level=Level(level)) if count else None

    def mark_told(self, sink: str, last_seq: int) -> None:
        change = update(OUTBOX).where(OUTBOX.c.sink == sink, OUTBOX.c.state == SUPPRESSED, OUTBOX.c.seq <= last_seq)
        with self._database.write() as connection:
            connection.execute(change.values(state=TOLD))

    def counts(self, sink: str) -> Counts:
        query = select(OUTBOX.c.state, func.count()).where(OUTBOX.c.sink == sink).group_by(OUTBOX.c.state)
        with self._database.read() as connection:
            found: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
        suppressed = found.get(SUPPRESSED, 0) + found.get(TOLD, 0)
        return Counts(pending=found.get(PENDING, 0), sent=found.get(SENT, 0), dead=found.get(DEAD, 0), suppressed=suppressed)

    def forget_before(self, at: float) -> int:
        with self._database.write() as connection:
            return connection.execute(delete(OUTBOX).where(OUTBOX.c.queued_at < at, OUTBOX.c.state.in_([SENT, DEAD, TOLD]))).rowcount

    def _change(self, sink: str, seq: int, **values: object) -> None:
        with self._database.write() as connection:
            connection.execute(update(OUTBOX).where(OUTBOX.c.sink == sink, OUTBOX.c.seq == seq).values(**values))
