"""The session log and its decisions.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("installation", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("ended_turn", sa.BigInteger, nullable=False),
        sa.Column("closed", sa.Boolean, nullable=False),
        sa.Column("projected_seq", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("sessions_installation", "sessions", ["installation"])
    op.create_table(
        "journal",
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("claim", sa.Text, nullable=False),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("session", "claim", "ordinal", name="journal_claim"),
    )
    op.create_index("journal_step", "journal", ["session", "turn", "step"])
    once = sa.text("kind IN ('admission', 'tool_result')")
    op.create_index(
        "journal_once",
        "journal",
        ["session", "kind", "subject"],
        unique=True,
        postgresql_where=once,
        sqlite_where=once,
    )
    op.create_table(
        "decisions",
        sa.Column("session", sa.Text, sa.ForeignKey("sessions.session"), primary_key=True),
        sa.Column("approval_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        _prepare_postgresql()


def _prepare_postgresql() -> None:
    # Every append updates its session's row: room on the page keeps that update out of the indexes.
    op.execute("ALTER TABLE sessions SET (fillfactor = 50)")
    # Without a policy only the owner sees rows; the roles' policies come with their grants.
    op.execute("ALTER TABLE journal ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE decisions ENABLE ROW LEVEL SECURITY")


def downgrade() -> None:
    raise NotImplementedError("a journal is never thrown away by a migration; restore a backup instead")
