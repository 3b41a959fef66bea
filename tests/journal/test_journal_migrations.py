"""Migrations: repeatable, one migrator at a time, and the same tables as the code has."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from codex_journal.__main__ import main
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


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run codex-temporal-journal in this process; gives its exit code and what it wrote to stdout and stderr."""

    def run(command: str, environment: dict[str, str]) -> tuple[int, str, str]:
        for name in [name for name in os.environ if name.startswith("CODEX_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["codex-temporal-journal", command])
        with pytest.raises(SystemExit) as exit_:
            main()
        written = capsys.readouterr()
        return int(exit_.value.code or 0), written.out, written.err

    return run


def test_the_program_migrates_and_checks(program: Run, tmp_path: Path) -> None:
    environment = {"CODEX_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'journal.sqlite'}"}
    code, _, complaint = program("check", environment)
    assert code == 1
    assert f"none, this release needs {newest()}" in complaint
    assert program("current", environment) == (0, "none\n", "")
    assert program("migrate", environment) == (0, f"journal at revision {newest()}\n", "")
    assert program("check", environment)[0] == 0
    assert program("current", environment) == (0, f"{newest()}\n", "")


@pytest.mark.database
def test_the_program_makes_the_roles_from_files_like_an_init_container(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("owner", "operator", "worker")}
    for name, file in files.items():
        file.write_text(f"{postgres.password if name == 'owner' else name}\n")
    asyncio.run(postgres.execute("CREATE DATABASE program"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEX_")}
    environment = clean | {
        "CODEX_DATABASE_URL": f"postgresql+asyncpg://postgres@127.0.0.1:{postgres.port}/program",
        "CODEX_DATABASE_PASSWORD_FILE": str(files["owner"]),
        "CODEX_DATABASE_OPERATOR_ROLE": "program_operator",
        "CODEX_DATABASE_OPERATOR_PASSWORD_FILE": str(files["operator"]),
        "CODEX_DATABASE_WORKER_ROLE": "program_worker",
        "CODEX_DATABASE_WORKER_PASSWORD_FILE": str(files["worker"]),
    }
    command = [sys.executable, "-W", "error", "-m", "codex_journal", "migrate"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
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
    program: Run, environment: dict[str, str], complaint: str
) -> None:
    code, _, said = program("migrate", environment)
    assert code in (1, 2)
    assert complaint in said
    assert "Traceback" not in said
