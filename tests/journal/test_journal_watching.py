"""Watching: hints of all processes, soon; and the rows themselves even where hints get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from codex_journal.journal import Journal
from codex_journal.rows import Hint
from codex_journal.testing import DatabaseUrls, PostgresServer, event_row, open_example

OpenJournal = Callable[..., Awaitable[Journal]]


async def until(hints: AsyncIterator[Hint | None], wanted: Hint) -> None:
    async with asyncio.timeout(30):
        async for hint in hints:
            if hint == wanted:
                return
    raise AssertionError("the watch ended")


async def test_every_watcher_hears_of_commits_through_another_journal(
    journal_url: str, open_journal: OpenJournal
) -> None:
    watching, writing = await open_journal(journal_url), await open_journal(journal_url)
    await open_example(writing)
    async with watching.watch() as first, watching.watch() as second:
        assert await anext(first) is None
        # A hint may be lost before the channel stands; after that each append has to be told.
        for n in range(3, 6):
            await writing.append("session-1", f"{n}", [event_row(1)])
            await asyncio.sleep(0.3)
        await asyncio.gather(until(first, Hint("session-1", 5)), until(second, Hint("session-1", 5)))


async def test_a_watcher_hears_of_its_own_process_at_once(journal: Journal) -> None:
    await open_example(journal)
    async with journal.watch() as hints:
        assert await anext(hints) is None
        await journal.append("session-1", "x", [event_row(1)])
        assert Hint("session-1", 3) in [await anext(hints), await anext(hints)]
        await journal.end_turn("session-1", 1, lambda _: [event_row(1)])
        await until(hints, Hint("session-1", 4))


async def test_without_any_hint_it_says_to_read_again_every_second(journal: Journal) -> None:
    async with journal.watch() as hints, asyncio.timeout(30):
        clock = asyncio.get_running_loop().time
        started = clock()
        assert [await anext(hints) for _ in range(4)] == [None] * 4
        assert clock() - started >= 1


async def test_hints_keep_no_watcher_from_reading_again(journal: Journal) -> None:
    await open_example(journal)
    async with journal.watch() as hints, asyncio.timeout(60):
        rereads = 0
        for n in range(10_000):
            await journal.append("session-1", f"{n}", [event_row(1)])
            rereads += await anext(hints) is None
            if rereads == 4:
                break
        assert rereads == 4


async def test_a_slow_watcher_gets_one_hint_for_each_session(journal: Journal) -> None:
    for session in ("a", "b"):
        await open_example(journal, session)
    async with journal.watch() as hints:
        await anext(hints)
        for n in range(20):
            for session in ("a", "b"):
                await journal.append(session, f"{n}", [event_row(1)])
        await asyncio.sleep(1.2)
        seen = [hint for hint in [await anext(hints) for _ in range(3)] if hint is not None]
        assert {hint.session: hint.seq for hint in seen} == {"a": 22, "b": 22}


async def test_closing_the_journal_ends_its_watchers(journal_url: str) -> None:
    journal = await Journal.connect(journal_url, application="test")
    async with journal.watch() as hints, asyncio.timeout(30):
        waiting = asyncio.create_task(_drain(hints))
        await asyncio.sleep(0.1)
        await journal.close()
        await waiting


async def _drain(hints: AsyncIterator[Hint | None]) -> None:
    async for _ in hints:
        pass


async def _hint_connections(postgres: PostgresServer, application: str) -> list[int]:
    connection = await postgres.connect()
    try:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = $1"
        return [record["pid"] for record in await connection.fetch(query, f"{application} hints")]
    finally:
        await connection.close()


@pytest.mark.database
async def test_all_watchers_of_a_process_share_one_connection_that_comes_back(
    postgres: PostgresServer, postgres_urls: DatabaseUrls, open_journal: OpenJournal
) -> None:
    writing = await open_journal(postgres_urls.operator)
    watching = await Journal.connect(postgres_urls.operator, application="watching")
    await open_example(writing)
    async with watching.watch() as hints, watching.watch(), watching.watch():
        await writing.append("session-1", "before", [event_row(1)])
        async with asyncio.timeout(30):
            while len(before := await _hint_connections(postgres, "watching")) != 1:
                await asyncio.sleep(0.05)
        await postgres.execute(f"SELECT pg_terminate_backend({before[0]})")
        async with asyncio.timeout(30):
            while (after := await _hint_connections(postgres, "watching")) in ([], before):
                await asyncio.sleep(0.05)
        assert len(after) == 1
        await asyncio.sleep(0.5)
        await writing.append("session-1", "after", [event_row(1)])
        await until(hints, Hint("session-1", 4))
    await watching.close()
    assert await _hint_connections(postgres, "watching") == []


async def test_nobody_polls_a_sqlite_file_that_nobody_watches(sqlite_url: str, open_journal: OpenJournal) -> None:
    journal = await open_journal(sqlite_url)
    async with journal.watch() as hints:
        await anext(hints)
        assert "SqliteHints" in {task.get_name() for task in asyncio.all_tasks()}
    async with asyncio.timeout(10):
        while "SqliteHints" in {task.get_name() for task in asyncio.all_tasks()}:
            await asyncio.sleep(0.01)
    async with journal.watch() as hints:
        await anext(hints)
        await open_example(journal)
        await until(hints, Hint("session-1", 2))
