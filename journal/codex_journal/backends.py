"""Where PostgreSQL and SQLite differ: engines, transactions and how a batch gets in. All else is shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from codex_journal.batches import Batch, Written
from codex_journal.queries import ROWS_AFTER, stored_row
from codex_journal.rendered import RenderedStatement
from codex_journal.rows import Row
from codex_journal.tables import journal, sessions

CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 15
# A process paused within the end of a turn, which takes several statements, must not keep the session's lock.
IDLE_IN_TRANSACTION_MILLISECONDS = 3_000
SQLITE_BUSY_SECONDS = 15


class Backend(Protocol):
    """A database as the journal uses it."""

    engine: AsyncEngine
    reader: AsyncEngine
    """The same database, without transactions around single statements."""

    async def close(self) -> None:
        """Close all connections."""

    async def read_after(self, session: str, after: int) -> list[Row]:
        """Return the session's rows with seq > ``after``, by seq, in a connection of its own."""

    async def write(self, batch: Batch) -> Written | None:
        """Write a batch in a transaction of its own; None: fence or claim did not let it, nothing was written."""

    async def write_in(self, connection: AsyncConnection, batch: Batch) -> Written | None:
        """The same within the caller's transaction."""

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Give a connection in a transaction that may write; committed at the end, rolled back on an exception."""

    def insert_ignore(self, table: sa.Table) -> PostgresInsert | SqliteInsert:
        """Return an insert that does nothing where the primary key exists."""


def _advance() -> sa.Update:
    """Lock the session, check fence and claim, and take the next numbers: one statement on both databases."""
    ends_turn = sa.bindparam("ends_turn", type_=sa.BigInteger)
    passes_fence = sa.or_(
        sa.not_(sa.bindparam("fenced", type_=sa.Boolean)),
        sa.and_(sa.not_(sessions.c.closed), sessions.c.ended_turn < sa.bindparam("fence_turn", type_=sa.BigInteger)),
    )
    claimed = sa.exists().where(
        journal.c.session == sa.bindparam("session_uid", type_=sa.Text),
        journal.c.claim == sa.bindparam("claim_name", type_=sa.Text),
    )
    return (
        sa.update(sessions)
        .where(sessions.c.session == sa.bindparam("session_uid", type_=sa.Text), passes_fence, ~claimed)
        .values(
            last_seq=sessions.c.last_seq + sa.bindparam("count", type_=sa.BigInteger),
            ended_turn=sa.case((sessions.c.ended_turn < ends_turn, ends_turn), else_=sessions.c.ended_turn),
            closed=sa.or_(sessions.c.closed, sa.bindparam("closes", type_=sa.Boolean)),
        )
    )


def _batch_values(batch: Batch) -> dict[str, Any]:
    return {
        "session_uid": batch.session,
        "claim_name": batch.claim,
        "count": len(batch.rows),
        "fenced": batch.fence_turn is not None,
        "fence_turn": batch.fence_turn or 0,
        "ends_turn": batch.ends_turn,
        "closes": batch.closes,
    }


_FIRST_SEQ = (sessions.c.last_seq - sa.bindparam("count", type_=sa.BigInteger) + 1).label("first_seq")
_ROW_COLUMNS: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "turn": sa.BigInteger,
    "step": sa.BigInteger,
    "position": sa.BigInteger,
    "kind": sa.Text,
    "subject": sa.Text,
    "payload": sa.Text,
}


def _postgres_write() -> sa.Select[Any]:
    """The whole append as one statement: one round trip, and no moment in which a paused client holds a lock."""
    target = _advance().returning(_FIRST_SEQ, sa.func.clock_timestamp().label("at")).cte("target")
    arrays: list[sa.BindParameter[Any]] = [
        sa.bindparam(f"{name}s", type_=ARRAY(kind)) for name, kind in _ROW_COLUMNS.items()
    ]
    rows = (
        sa.func.unnest(*arrays)
        .table_valued(*(sa.column(name, kind) for name, kind in _ROW_COLUMNS.items()), with_ordinality="number")
        .render_derived(name="new_rows")
    )
    source = sa.select(
        sa.bindparam("session_uid", type_=sa.Text),
        target.c.first_seq + rows.c.number - 1,
        sa.bindparam("claim_name", type_=sa.Text),
        rows.c.number - 1,
        target.c.at,
        *(rows.c[name] for name in _ROW_COLUMNS),
    ).select_from(target.join(rows, sa.true()))
    inserted = (
        sa.insert(journal)
        .from_select(["session", "seq", "claim", "ordinal", "at", *_ROW_COLUMNS], source)
        .cte("inserted")
    )
    return sa.select(target.c.first_seq, target.c.at).add_cte(inserted)


class PostgresBackend:
    def __init__(self, url: URL, application: str, pool_size: int, command_timeout: float) -> None:
        self.reader = create_async_engine(
            url,
            # Most statements stand alone; only for the others does a connection have to change its ways and back.
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=COMMAND_TIMEOUT_SECONDS,
            pool_use_lifo=True,
            connect_args={
                "timeout": CONNECT_TIMEOUT_SECONDS,
                "command_timeout": command_timeout,
                "server_settings": {
                    "application_name": application,
                    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MILLISECONDS),
                    "jit": "off",
                },
            },
        )
        self.engine = self.reader.execution_options(isolation_level="READ COMMITTED")
        self._write = RenderedStatement(_postgres_write(), self.reader.dialect)
        self._read_after = RenderedStatement(ROWS_AFTER, self.reader.dialect)

    async def close(self) -> None:
        await self.engine.dispose()

    async def read_after(self, session: str, after: int) -> list[Row]:
        async with self.reader.connect() as connection:
            found = await self._read_after.execute(connection, {"session_uid": session, "after": after})
            return [stored_row(row) for row in found]

    async def write(self, batch: Batch) -> Written | None:
        async with self.reader.connect() as connection:
            return await self.write_in(connection, batch)

    async def write_in(self, connection: AsyncConnection, batch: Batch) -> Written | None:
        columns = {f"{name}s": [getattr(row, name) for row in batch.rows] for name in _ROW_COLUMNS}
        result = await self._write.execute(connection, _batch_values(batch) | columns)
        row = result.one_or_none()
        return None if row is None else Written(row.first_seq, row.at.astimezone(UTC))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        async with self.engine.begin() as connection:
            yield connection

    def insert_ignore(self, table: sa.Table) -> PostgresInsert:
        return postgresql_insert(table).on_conflict_do_nothing()


# Marks connections that begin no transaction; SQLAlchemy's own AUTOCOMMIT asks SQLite for a pragma each time.
READING = "codex_reading"


class SqliteBackend:
    def __init__(self, url: URL, pool_size: int) -> None:
        # Nothing is ever left open for the pool to roll back. Every call of this engine is a hop to a thread and back:
        # what each step does is one hop instead, with the second engine.
        self.engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_reset_on_return=None,
            connect_args={"timeout": SQLITE_BUSY_SECONDS},
        )
        sa.event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
        sa.event.listen(self.engine.sync_engine, "begin", _begin_immediate)
        self.reader = self.engine.execution_options(**{READING: True})
        self._threaded = sa.create_engine(
            url.set(drivername="sqlite+pysqlite"),
            poolclass=sa.QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_reset_on_return=None,
            connect_args={"timeout": SQLITE_BUSY_SECONDS, "check_same_thread": False},
        )
        sa.event.listen(self._threaded, "connect", _prepare_sqlite)
        sa.event.listen(self._threaded, "begin", _begin_immediate)
        self.threaded_reader = self._threaded.execution_options(**{READING: True})
        # SQLite's busy handler sleeps and is unfair: writers of this process queue here instead.
        self._writing = asyncio.Lock()
        self._advance = _advance().returning(_FIRST_SEQ)
        self._insert = sa.insert(journal)

    async def close(self) -> None:
        await self.engine.dispose()
        self._threaded.dispose()

    async def read_after(self, session: str, after: int) -> list[Row]:
        def read() -> list[Row]:
            with self.threaded_reader.connect() as connection:
                return [stored_row(row) for row in connection.execute(ROWS_AFTER, values)]

        values = {"session_uid": session, "after": after}
        return await asyncio.to_thread(read)

    async def write(self, batch: Batch) -> Written | None:
        def write() -> Written | None:
            with self._threaded.begin() as connection:
                return self._write(connection, batch)

        async with self._writing:
            return await asyncio.to_thread(write)

    async def write_in(self, connection: AsyncConnection, batch: Batch) -> Written | None:
        return await connection.run_sync(self._write, batch)

    def _write(self, connection: sa.Connection, batch: Batch) -> Written | None:
        row = connection.execute(self._advance, _batch_values(batch)).one_or_none()
        if row is None:
            return None
        at = datetime.now(UTC)
        shared = {"session": batch.session, "claim": batch.claim, "at": at}
        values = [
            shared
            | {name: getattr(new, name) for name in _ROW_COLUMNS}
            | {"seq": row.first_seq + ordinal, "ordinal": ordinal}
            for ordinal, new in enumerate(batch.rows)
        ]
        if values:
            connection.execute(self._insert, values)
        return Written(row.first_seq, at)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        async with self._writing, self.engine.begin() as connection:
            yield connection

    def insert_ignore(self, table: sa.Table) -> SqliteInsert:
        return sqlite_insert(table).on_conflict_do_nothing()


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours to say, see _begin_immediate
    cursor = connection.cursor()
    # FULL: an intent must survive a power cut, or the command it announces is run again blindly.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    # A deferred BEGIN that becomes a writer later fails at once with "database is locked".
    if not connection.get_execution_options().get(READING):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def make_backend(
    url: str,
    *,
    password: str | None,
    application: str,
    pool_size: int,
    command_timeout: float = COMMAND_TIMEOUT_SECONDS,
) -> Backend:
    """Return the backend of a SQLAlchemy URL; raises ValueError for databases other than the two."""
    parsed = sa.make_url(url)
    if parsed.drivername == "postgresql+asyncpg":
        parsed = parsed if password is None else parsed.set(password=password)
        return PostgresBackend(parsed, application, pool_size, command_timeout)
    if parsed.drivername == "sqlite+aiosqlite":
        return SqliteBackend(parsed, pool_size)
    raise ValueError(f"{parsed.drivername}: the journal needs postgresql+asyncpg:// or sqlite+aiosqlite:///")
