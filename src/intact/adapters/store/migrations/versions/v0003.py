"""Baselines at scale: envelopes and index here, one object per layer table in a bucket."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "baselines",
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("stored_at", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float, nullable=False),
    )
    op.create_table(
        "baseline_aliases",
        sa.Column("alias", TEXT, primary_key=True),
        sa.Column("platform", TEXT, primary_key=True),
        sa.Column("key", TEXT, sa.ForeignKey("baselines.key", ondelete="CASCADE"), nullable=False, index=True),
    )
    op.create_table(
        "baseline_layers",
        sa.Column("diff_id", TEXT, primary_key=True),
        sa.Column("key", TEXT, sa.ForeignKey("baselines.key", ondelete="CASCADE"), primary_key=True, index=True),
    )
    op.create_table(
        "layer_tables",
        sa.Column("root", TEXT, primary_key=True),
        sa.Column("object", TEXT, nullable=False, unique=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("tag", TEXT, nullable=False),
        sa.Column("stored_at", sa.Float, nullable=False),
    )
    op.create_table(
        "baseline_tables",
        sa.Column("root", TEXT, sa.ForeignKey("layer_tables.root"), primary_key=True),
        sa.Column("key", TEXT, sa.ForeignKey("baselines.key", ondelete="CASCADE"), primary_key=True, index=True),
    )
    op.execute("UPDATE schema_version SET version = 3")
