"""The tables. Documents are records of the model as `adapters.codec` writes them; columns beside them are what is searched by."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint

VERSION = 1
"""Counts up with every change of a table."""

METADATA = MetaData()

SCHEMA_VERSION = Table("schema_version", METADATA, Column("version", Integer, nullable=False))

LEAVES = Table(
    "audit_leaves",
    METADATA,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False, index=True),
    Column("kind", String, nullable=False, index=True),
    Column("node", String, nullable=False),
    Column("workload", String, nullable=False),
    Column("workload_name", String, nullable=False, index=True),
    Column("incident", String, nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
)

CHECKPOINTS = Table(
    "audit_checkpoints",
    METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", LargeBinary, nullable=False),
    Column("peaks", LargeBinary, nullable=False),
)

INCIDENTS = Table(
    "incidents",
    METADATA,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("level", Integer, nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False, index=True),
    Column("document", LargeBinary, nullable=False),
)
_UNRESOLVED = INCIDENTS.c.state != "Resolved"
Index("one_unresolved_incident", INCIDENTS.c.workload, unique=True, sqlite_where=_UNRESOLVED, postgresql_where=_UNRESOLVED)

FINDINGS = Table(
    "findings",
    METADATA,
    Column("incident_id", String, ForeignKey("incidents.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String, primary_key=True),
    Column("level", Integer, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("document", LargeBinary, nullable=False),
)

REVISIONS = Table(
    "revisions",
    METADATA,
    Column("workload", String, primary_key=True),
    Column("uid", String, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
)

REMEDIATIONS = Table(
    "remediations",
    METADATA,
    Column("name", String, primary_key=True),
    Column("incident_id", String, nullable=False, index=True),
    Column("phase", String, nullable=False, index=True),
    Column("decided_at", Float, nullable=False, index=True),
    Column("document", LargeBinary, nullable=False),
)

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("alert_id", String, nullable=False),
    Column("sink", String, nullable=False),
    Column("incident_id", String, nullable=False),
    Column("level", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("queued_at", Float, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("error", String, nullable=False),
    Column("document", LargeBinary, nullable=False),
    UniqueConstraint("sink", "alert_id"),
    Index("outbox_heads", "sink", "state", "incident_id", "seq"),
)

REPORTS = Table(
    "reports",
    METADATA,
    Column("node", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("at", Float, nullable=False, index=True),
)

NODES = Table(
    "nodes",
    METADATA,
    Column("node", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("tier", String, nullable=False),
    Column("coverage", LargeBinary, nullable=False),
)
