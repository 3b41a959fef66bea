"""The journal of this machine: one SQLite file, brought to this release's schema on first use."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import codex_journal
from codex_client.local.errors import LocalError, first_line
from codex_client.local.state_folder import StateFolder
from codex_journal.errors import JournalError
from codex_journal.journal import Journal

MIGRATIONS = Path(codex_journal.__file__).parent / "migrations" / "versions"


@asynccontextmanager
async def local_journal(state: StateFolder) -> AsyncIterator[Journal]:
    """Open the journal; raises LocalError."""
    url = f"sqlite+aiosqlite:///{state.journal}"
    try:
        if schema_of(state.journal) != newest_schema():
            # Alembic takes longer to import than all the rest of this function takes.
            from codex_journal.migrating import migrate

            await migrate(url)
    except Exception as error:
        raise LocalError(f"cannot use the journal {state.journal}: {first_line(error)}") from error
    journal = await Journal.connect(url, application="codex-temporal")
    try:
        yield journal
    finally:
        with contextlib.suppress(JournalError):
            await journal.close()


def newest_schema() -> str:
    """Return the revision that this release needs; the files are named after theirs."""
    return max(path.name.partition("_")[0] for path in MIGRATIONS.glob("[0-9]*_*.py"))


def schema_of(path: Path) -> str | None:
    """Return the revision of the database; None where there is none yet."""
    if not path.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(path.as_uri() + "?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return None
    return str(found[0]) if found else None
