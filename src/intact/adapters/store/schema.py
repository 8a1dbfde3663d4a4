"""The tables. Documents are records of the model as `adapters.codec` writes them; columns beside them are what is searched by.

A change of a table is a new module in `migrations/versions`, and its name at the end of `KNOWN`: tests hold the two together.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint

KNOWN = ("0001", "0002", "0003", "0004", "0005")
"""All that this program can bring a database up from, the oldest first; the last one is what it works on."""
HEAD = KNOWN[-1]

METADATA = MetaData()
TEXT = String().with_variant(String(collation="C"), "postgresql")
"""Compared byte by byte on every database, whatever language the server speaks."""
COUNTED = BigInteger().with_variant(Integer, "sqlite")
"""A key that the database counts up itself: SQLite does so for INTEGER only."""

SCHEMA_VERSION = Table("schema_version", METADATA, Column("version", Integer, nullable=False))
"""The number of the revision, for the first release: it knows no other place to look, and refuses what is newer."""

LEAVES = Table(
    "audit_leaves",
    METADATA,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False, index=True),
    Column("kind", TEXT, nullable=False, index=True),
    Column("node", TEXT, nullable=False),
    Column("workload", TEXT, nullable=False),
    Column("workload_name", TEXT, nullable=False, index=True),
    Column("incident", TEXT, nullable=False, index=True),
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
    Column("id", TEXT, primary_key=True),
    Column("workload", TEXT, nullable=False),
    Column("namespace", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
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
    Column("incident_id", TEXT, ForeignKey("incidents.id", ondelete="CASCADE"), primary_key=True),
    Column("id", TEXT, primary_key=True),
    Column("level", Integer, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("document", LargeBinary, nullable=False),
)

REVISIONS = Table(
    "revisions",
    METADATA,
    Column("workload", TEXT, primary_key=True),
    Column("uid", TEXT, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
)

REMEDIATIONS = Table(
    "remediations",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("incident_id", TEXT, nullable=False, index=True),
    Column("phase", TEXT, nullable=False, index=True),
    Column("decided_at", Float, nullable=False, index=True),
    Column("document", LargeBinary, nullable=False),
)

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("seq", COUNTED, primary_key=True, autoincrement=True),
    Column("alert_id", TEXT, nullable=False),
    Column("sink", TEXT, nullable=False),
    Column("incident_id", TEXT, nullable=False),
    Column("level", Integer, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("queued_at", Float, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("error", TEXT, nullable=False),
    Column("document", LargeBinary, nullable=False),
    UniqueConstraint("sink", "alert_id"),
    Index("outbox_heads", "sink", "state", "incident_id", "seq"),
)

REPORTS = Table(
    "reports",
    METADATA,
    Column("node", TEXT, primary_key=True),
    Column("id", TEXT, primary_key=True),
    Column("at", Float, nullable=False, index=True),
)

NODES = Table(
    "nodes",
    METADATA,
    Column("node", TEXT, primary_key=True),
    Column("at", Float, nullable=False),
    Column("tier", TEXT, nullable=False),
    Column("coverage", LargeBinary, nullable=False),
    Column("gaps", LargeBinary),
)

BASELINES = Table(
    "baselines",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("stored_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
)

BASELINE_ALIASES = Table(
    "baseline_aliases",
    METADATA,
    Column("alias", TEXT, primary_key=True),
    Column("platform", TEXT, primary_key=True),
    Column("key", TEXT, ForeignKey("baselines.key", ondelete="CASCADE"), nullable=False, index=True),
)

BASELINE_LAYERS = Table(
    "baseline_layers",
    METADATA,
    Column("diff_id", TEXT, primary_key=True),
    Column("key", TEXT, ForeignKey("baselines.key", ondelete="CASCADE"), primary_key=True, index=True),
)

LAYER_TABLES = Table(
    "layer_tables",
    METADATA,
    Column("root", TEXT, primary_key=True),
    Column("object", TEXT, nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("tag", TEXT, nullable=False),
    Column("stored_at", Float, nullable=False),
)

BASELINE_TABLES = Table(
    "baseline_tables",
    METADATA,
    Column("root", TEXT, ForeignKey("layer_tables.root"), primary_key=True),
    Column("key", TEXT, ForeignKey("baselines.key", ondelete="CASCADE"), primary_key=True, index=True),
)

SERVED_BASELINES = Table(
    "served_baselines",
    METADATA,
    Column("root", TEXT, primary_key=True),
    Column("key", TEXT, nullable=False),
    Column("at", Float, nullable=False, index=True),
)

INBOX = Table(
    "inbox",
    METADATA,
    Column("seq", COUNTED, primary_key=True, autoincrement=True),
    Column("node", TEXT, nullable=False),
    Column("id", TEXT, nullable=False),
    Column("at", Float, nullable=False),
    Column("document", LargeBinary, nullable=False),
    UniqueConstraint("node", "id"),
)

COMMANDS = Table(
    "commands",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("node", TEXT, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("document", LargeBinary, nullable=False),
)

START_PROFILES = Table(
    "start_profiles",
    METADATA,
    Column("workload", TEXT, primary_key=True),
    Column("template", TEXT, primary_key=True),
    Column("container", TEXT, primary_key=True),
    Column("image", TEXT, primary_key=True, index=True),
    Column("at", Float, nullable=False, index=True),
    Column("document", LargeBinary, nullable=False),
)

COUNTED_DRIFT = Table(
    "counted_drift",
    METADATA,
    Column("workload", TEXT, primary_key=True),
    Column("container", TEXT, primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("document", LargeBinary, nullable=False),
)

ACTING = Table(
    "acting",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("term", BigInteger, nullable=False),
    Column("holder", TEXT, nullable=False),
    Column("since", Float, nullable=False),
)
