"""Databases for the journal's tests: most tests run on both."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from codex_journal.journal import Journal
from codex_journal.migrating import migrate
from codex_journal.testing import DatabaseUrls, PostgresServer, migrated_database

OpenJournal = Callable[..., Awaitable[Journal]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_urls(postgres: PostgresServer) -> DatabaseUrls:
    return asyncio.run(migrated_database(postgres))


@pytest.fixture
async def postgres_urls(postgres: PostgresServer, shared_urls: DatabaseUrls) -> DatabaseUrls:
    """A migrated database without rows; emptied, not made anew: a database is 300 files."""
    await postgres.execute("TRUNCATE sessions, journal, decisions", shared_urls.owner.rsplit("/", 1)[1])
    return shared_urls


@pytest.fixture
async def own_urls(postgres: PostgresServer) -> DatabaseUrls:
    """A migrated database for a test that changes more than rows."""
    return await migrated_database(postgres)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("template") / "journal.sqlite"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """A fresh migrated file."""
    return f"sqlite+aiosqlite:///{shutil.copy(sqlite_template, tmp_path / 'journal.sqlite')}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.database)])
def journal_url(request: pytest.FixtureRequest) -> str:
    """A fresh migrated database, as the operator reaches it."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    urls: DatabaseUrls = request.getfixturevalue("postgres_urls")
    return urls.operator


@pytest.fixture
async def open_journal() -> AsyncIterator[OpenJournal]:
    """Open a journal at a URL; closed when the test is over."""
    async with AsyncExitStack() as stack:

        async def open_at(url: str, **options: int) -> Journal:
            journal = await Journal.connect(url, application="test", **options)
            stack.push_async_callback(journal.close)
            return journal

        yield open_at


@pytest.fixture
async def journal(journal_url: str, open_journal: OpenJournal) -> Journal:
    return await open_journal(journal_url)


@pytest.fixture
def programs() -> Path:
    """Where the programs stand that tests run as processes of their own."""
    return Path(__file__).parent / "programs"
