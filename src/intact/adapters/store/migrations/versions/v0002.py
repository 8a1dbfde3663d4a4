"""What several replicas share: reports on their way to the one that acts, commands on their way to nodes, and who acts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("nodes", sa.Column("gaps", sa.LargeBinary))
    op.create_table(
        "inbox",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("node", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("node", "id"),
    )
    op.create_table(
        "commands",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("node", TEXT, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False, index=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "acting",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
    )
    op.execute("UPDATE schema_version SET version = 2")
