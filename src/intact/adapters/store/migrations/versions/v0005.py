"""What the pods of a template do before they are ready, and what containers write that no rule tells."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "start_profiles",
        sa.Column("workload", TEXT, primary_key=True),
        sa.Column("template", TEXT, primary_key=True),
        sa.Column("container", TEXT, primary_key=True),
        sa.Column("image", TEXT, primary_key=True, index=True),
        sa.Column("at", sa.Float, nullable=False, index=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "counted_drift",
        sa.Column("workload", TEXT, primary_key=True),
        sa.Column("container", TEXT, primary_key=True),
        sa.Column("at", sa.Float, nullable=False, index=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.execute("UPDATE schema_version SET version = 5")
