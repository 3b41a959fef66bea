"""Brings a database to this release's schema, one migrator at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from codex_journal.backends import PostgresBackend, make_backend
from codex_journal.failures import translated
from codex_journal.roles import Roles, ensure_roles

# Any number that nothing else in the database locks.
ADVISORY_LOCK = 0x636F646578
# A migration may rewrite a large table, and a second migrator waits for the first.
STATEMENT_SECONDS = 600


async def migrate(url: str, *, password: str | None = None, roles: Roles | None = None) -> str:
    """Upgrade to the newest revision, then grant the roles theirs; one transaction, repeatable; return the revision.

    A second migrator waits for the first. Raises JournalUnavailable, MissingRole, NotPermitted; ValueError for roles
    on SQLite, which has none.
    """
    async with _exclusive(url, password) as connection:
        await connection.run_sync(_upgrade)
        if roles is not None:
            if connection.dialect.name != "postgresql":
                raise ValueError("SQLite has no roles")
            await ensure_roles(connection, roles)
        return await connection.run_sync(_revision) or ""


async def current(url: str, *, password: str | None = None) -> str | None:
    """Return the database's revision; None: nothing was ever migrated."""
    async with _exclusive(url, password) as connection:
        return await connection.run_sync(_revision)


def newest() -> str:
    """Return the revision this release needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


@asynccontextmanager
async def _exclusive(url: str, password: str | None) -> AsyncIterator[AsyncConnection]:
    backend = make_backend(
        url, password=password, application="codex-temporal-journal", pool_size=1, command_timeout=STATEMENT_SECONDS
    )
    try:
        with translated():
            async with backend.transaction() as connection:
                if isinstance(backend, PostgresBackend):
                    await connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
                yield connection
    finally:
        await backend.close()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "codex_journal:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: sa.Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
