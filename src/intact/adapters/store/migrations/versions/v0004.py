"""Which supplied baselines nodes were given, so that they can be taken back: by every replica, and after a restart or a restore."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "served_baselines",
        sa.Column("root", TEXT, primary_key=True),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("at", sa.Float, nullable=False, index=True),
    )
    op.execute("UPDATE schema_version SET version = 4")
