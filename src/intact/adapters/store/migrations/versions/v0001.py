"""What the first release made: incidents, the audit log, the outbox and what nodes said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    version = op.create_table("schema_version", sa.Column("version", sa.Integer, nullable=False))
    assert version is not None
    op.bulk_insert(version, [{"version": 1}])
    op.create_table(
        "audit_leaves",
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False, index=True),
        sa.Column("kind", TEXT, nullable=False, index=True),
        sa.Column("node", TEXT, nullable=False),
        sa.Column("workload", TEXT, nullable=False),
        sa.Column("workload_name", TEXT, nullable=False, index=True),
        sa.Column("incident", TEXT, nullable=False, index=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
        sa.Column("peaks", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "incidents",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("workload", TEXT, nullable=False),
        sa.Column("namespace", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("first_seen", sa.Float, nullable=False),
        sa.Column("last_seen", sa.Float, nullable=False, index=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    unresolved = sa.text("state != 'Resolved'")
    op.create_index("one_unresolved_incident", "incidents", ["workload"], unique=True, sqlite_where=unresolved, postgresql_where=unresolved)
    op.create_table(
        "findings",
        sa.Column("incident_id", TEXT, sa.ForeignKey("incidents.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("path", sa.LargeBinary, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "revisions",
        sa.Column("workload", TEXT, primary_key=True),
        sa.Column("uid", TEXT, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "remediations",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("incident_id", TEXT, nullable=False, index=True),
        sa.Column("phase", TEXT, nullable=False, index=True),
        sa.Column("decided_at", sa.Float, nullable=False, index=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("alert_id", TEXT, nullable=False),
        sa.Column("sink", TEXT, nullable=False),
        sa.Column("incident_id", TEXT, nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("queued_at", sa.Float, nullable=False),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("error", TEXT, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("sink", "alert_id"),
    )
    op.create_index("outbox_heads", "outbox", ["sink", "state", "incident_id", "seq"])
    op.create_table(
        "reports",
        sa.Column("node", TEXT, primary_key=True),
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("at", sa.Float, nullable=False, index=True),
    )
    op.create_table(
        "nodes",
        sa.Column("node", TEXT, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("tier", TEXT, nullable=False),
        sa.Column("coverage", sa.LargeBinary, nullable=False),
    )
