"""What nodes have said, in SQL: reports already taken in, and each node's coverage."""

from __future__ import annotations

from sqlalchemy import delete, select

from intact.adapters.codec import decode_all, encode_all
from intact.model.seam import Coverage, Gap, NodeStatus

from .database import Database, insert_new, upsert
from .schema import NODES, REPORTS


class SqlReportStore:
    """`decide.ports.ReportStore` on a database. A report's id counts for its node only: no node can use up another's ids."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(self, report_id: str, node: str, at: float) -> bool:
        with self._database.write() as connection:
            return insert_new(connection, REPORTS, ("node", "id"), {"node": node, "id": report_id, "at": at})

    def forget_before(self, at: float) -> int:
        with self._database.write() as connection:
            return connection.execute(delete(REPORTS).where(REPORTS.c.at < at)).rowcount

    def save_coverage(self, node: str, at: float, coverage: tuple[Coverage, ...], tier: str, gaps: tuple[Gap, ...] = ()) -> None:
        with self._database.write() as connection:
            upsert(connection, NODES, {"node": node}, {"at": at, "tier": tier, "coverage": encode_all(coverage), "gaps": encode_all(gaps)})

    def coverage(self) -> tuple[tuple[str, float, str, tuple[Coverage, ...]], ...]:
        with self._database.read() as connection:
            rows = connection.execute(select(NODES.c.node, NODES.c.at, NODES.c.tier, NODES.c.coverage).order_by(NODES.c.node)).all()
        return tuple((row.node, row.at, row.tier, decode_all(Coverage, row.coverage)) for row in rows)

    def statuses(self) -> tuple[NodeStatus, ...]:
        with self._database.read() as connection:
            rows = connection.execute(select(NODES).order_by(NODES.c.node)).all()
        return tuple(
            NodeStatus(
                node=row.node,
                heard_at=row.at,
                tier=row.tier,
                coverage=decode_all(Coverage, row.coverage),
                gaps=decode_all(Gap, row.gaps or b"[]"),
            )
            for row in rows
        )
