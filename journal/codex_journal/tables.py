"""The three tables, the same on both databases; migrations/ creates them, a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware UTC time; SQLite stores none, so there the zone is added on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData()

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("installation", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
    sa.Column("ended_turn", sa.BigInteger, nullable=False),
    sa.Column("closed", sa.Boolean, nullable=False),
    sa.Column("projected_seq", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("sessions_installation", "installation"),
)

# No foreign key: a row is only ever inserted with the session's row locked, and nobody may delete sessions.
journal = sa.Table(
    "journal",
    metadata,
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("turn", sa.BigInteger, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("claim", sa.Text, nullable=False),
    sa.Column("ordinal", sa.BigInteger, nullable=False),
    # What the row is about: the call of a call's rows, the message of an admission, otherwise empty.
    sa.Column("subject", sa.Text, nullable=False),
    # Text, not a JSON type: their operators fail on the \u0000 that binary output brings.
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("session", "claim", "ordinal", name="journal_claim"),
    sa.Index("journal_step", "session", "turn", "step"),
    sa.Index(
        "journal_once",
        "session",
        "kind",
        "subject",
        unique=True,
        postgresql_where=sa.text("kind IN ('admission', 'tool_result')"),
        sqlite_where=sa.text("kind IN ('admission', 'tool_result')"),
    ),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("session", sa.Text, sa.ForeignKey("sessions.session"), primary_key=True),
    sa.Column("approval_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
