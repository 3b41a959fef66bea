"""Migrations: repeatable, one migrator at a time, and the same tables as the code has."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from codex_journal.errors import JournalUnavailable, NotMigrated
from codex_journal.journal import Journal
from codex_journal.migrating import ADVISORY_LOCK, current, migrate, newest
from codex_journal.roles import Role, Roles
from codex_journal.tables import metadata
from codex_journal.testing import PostgresServer, open_example


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.database)])
async def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database in which nobody has migrated anything, as its owner reaches it."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'empty.sqlite'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"empty_{secrets.token_hex(6)}"
    await server.execute(f"CREATE DATABASE {name}")
    return server.url(name)


async def test_a_migration_can_be_repeated_and_keeps_what_is_there(empty_url: str) -> None:
    assert await current(empty_url) is None
    assert await migrate(empty_url) == newest()
    journal = await Journal.connect(empty_url, application="test")
    await open_example(journal)
    assert await migrate(empty_url) == newest()
    assert len(await journal.read("session-1")) == 2
    await journal.close()
    assert await current(empty_url) == newest()


async def test_the_migrations_make_the_tables_of_the_code(empty_url: str) -> None:
    await migrate(empty_url)
    engine = create_async_engine(empty_url)

    def compare(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(compare) == []
    await engine.dispose()


async def test_two_migrators_at_once_both_succeed(empty_url: str) -> None:
    revisions = await asyncio.gather(*(migrate(empty_url) for _ in range(3)))
    assert revisions == [newest()] * 3


async def test_a_journal_without_tables_says_what_to_do_and_works_once_it_is_done(empty_url: str) -> None:
    journal = await Journal.connect(empty_url, application="test")
    with pytest.raises(NotMigrated, match="codex-temporal-journal migrate"):
        await journal.ping()
    with pytest.raises(NotMigrated):
        await open_example(journal)
    await migrate(empty_url)
    await open_example(journal)
    await journal.close()


@pytest.mark.database
async def test_a_migrator_waits_for_the_one_before_it(postgres: PostgresServer) -> None:
    await postgres.execute("CREATE DATABASE waiting")
    holder = await postgres.connect("waiting")
    await holder.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})")
    migrator = asyncio.create_task(migrate(postgres.url("waiting")))
    await asyncio.sleep(0.5)
    assert not migrator.done()
    assert await holder.fetchval("SELECT to_regclass('journal')") is None
    await holder.execute(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})")
    assert await migrator == newest()
    await holder.close()


@pytest.mark.database
async def test_a_migration_that_fails_leaves_nothing(postgres: PostgresServer) -> None:
    await postgres.execute("CREATE DATABASE failing")
    with pytest.raises(ValueError, match="ASCII"):
        await migrate(postgres.url("failing"), roles=Roles(Role("a", "pässword"), Role("b", "pässword")))
    connection = await postgres.connect("failing")
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()


async def test_sqlite_has_no_roles_to_grant_to(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no roles"):
        await migrate(f"sqlite+aiosqlite:///{tmp_path / 'x'}", roles=Roles(Role("a"), Role("b")))


async def test_another_database_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="mysql"):
        await migrate("mysql+aiomysql://localhost/x")


async def test_a_server_that_is_away_is_no_crash() -> None:
    with pytest.raises(JournalUnavailable, match="ConnectionRefusedError"):
        await migrate("postgresql+asyncpg://nobody@127.0.0.1:1/x")


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEX_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "codex_journal", *arguments],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_migrates_and_checks(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'journal.sqlite'}"
    before = program("check", CODEX_DATABASE_URL=url)
    assert before.returncode == 1
    assert f"none, this release needs {newest()}" in before.stderr
    assert program("current", CODEX_DATABASE_URL=url).stdout == "none\n"
    assert program("migrate", CODEX_DATABASE_URL=url).stdout == f"journal at revision {newest()}\n"
    assert program("check", CODEX_DATABASE_URL=url).returncode == 0
    assert program("current", CODEX_DATABASE_URL=url).stdout == f"{newest()}\n"


@pytest.mark.database
def test_the_program_makes_the_roles_from_files_like_an_init_container(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("owner", "operator", "worker")}
    for name, file in files.items():
        file.write_text(f"{postgres.password if name == 'owner' else name}\n")
    asyncio.run(postgres.execute("CREATE DATABASE program"))
    result = program(
        "migrate",
        CODEX_DATABASE_URL=f"postgresql+asyncpg://postgres@127.0.0.1:{postgres.port}/program",
        CODEX_DATABASE_PASSWORD_FILE=str(files["owner"]),
        CODEX_DATABASE_OPERATOR_ROLE="program_operator",
        CODEX_DATABASE_OPERATOR_PASSWORD_FILE=str(files["operator"]),
        CODEX_DATABASE_WORKER_ROLE="program_worker",
        CODEX_DATABASE_WORKER_PASSWORD_FILE=str(files["worker"]),
    )
    assert result.returncode == 0, result.stderr

    async def use() -> None:
        for user in ("operator", "worker"):
            url = f"postgresql+asyncpg://program_{user}@127.0.0.1:{postgres.port}/program"
            journal = await Journal.connect(url, password=user, application="test")
            await journal.ping()
            await journal.close()

    asyncio.run(use())


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({}, "CODEX_DATABASE_URL"),
        ({"CODEX_DATABASE_URL": "mysql://x"}, "needs postgresql"),
        ({"CODEX_DATABASE_URL": "postgresql+asyncpg://x@127.0.0.1:1/x"}, "127.0.0.1"),
        ({"CODEX_DATABASE_URL": "sqlite+aiosqlite:///x", "CODEX_DATABASE_PASSWORD_FILE": "/nowhere"}, "/nowhere"),
        ({"CODEX_DATABASE_URL": "sqlite+aiosqlite:///x", "CODEX_DATABASE_WORKER_ROLE": "w"}, "two different roles"),
    ],
)
def test_the_program_explains_bad_settings_without_a_traceback(
    environment: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    result = program("migrate", **environment)
    assert result.returncode != 0
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
