"""The append contract: all rows or none under one claim, once, with gap-free numbers."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import sqlalchemy as sa

from codex_api.rows import RowKind
from codex_journal.errors import AlreadyRecorded, UnknownSession
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_journal.testing import (
    DatabaseUrls,
    PostgresServer,
    admission_row,
    event_row,
    item_row,
    open_example,
    result_row,
    usage_row,
)

OpenJournal = Callable[..., Awaitable[Journal]]


@pytest.mark.database
async def test_a_repeated_claim_is_no_error_to_the_server(
    postgres: PostgresServer, postgres_urls: DatabaseUrls, open_journal: OpenJournal
) -> None:
    journal = await open_journal(postgres_urls.operator)
    await open_example(journal)
    before = postgres.log().count("duplicate key")
    for _ in range(2):
        await journal.append("session-1", "repeated", [event_row(1)])
    assert postgres.log().count("duplicate key") == before


async def test_rows_come_back_as_they_were_appended_with_the_next_numbers(journal: Journal) -> None:
    await open_example(journal)
    appended = await journal.append("session-1", "t1.s1/reply", [item_row(1, 1), usage_row(1, 1)])
    assert appended.inserted
    assert [row.seq for row in appended.rows] == [3, 4]
    assert [row.ordinal for row in appended.rows] == [0, 1]
    assert appended.rows == await journal.read("session-1", after=2)
    assert abs(appended.rows[0].at - datetime.now(UTC)) < timedelta(minutes=1)
    assert appended.rows[0].at.tzinfo is UTC
    record = await journal.session("session-1")
    assert record is not None
    assert record.last_seq == 4


async def test_a_repeated_claim_returns_what_stands_and_not_what_was_sent(journal: Journal) -> None:
    await open_example(journal)
    first = await journal.append("session-1", "t1.s1/reply", [item_row(1, 1)])
    again = await journal.append("session-1", "t1.s1/reply", [item_row(1, 1, 7), usage_row(1, 1)])
    assert not again.inserted
    assert again.rows == first.rows
    assert len(await journal.read("session-1")) == 3


@pytest.mark.parametrize(
    "text",
    ["\x00 \x1b[31m", "\ud800 alone", "ü 漢字 🙂", '"\\u0000"', "a" * 2_000_000],
    ids=["control", "surrogate", "unicode", "escaped", "long"],
)
async def test_any_text_survives_exactly(journal: Journal, text: str) -> None:
    await open_example(journal)
    payload = {"call_id": "t1.s1.c0", "item": {"output": text, "nested": [{"n": 2**60, "x": 0.1, "none": None}]}}
    await journal.append("session-1", "c", [NewRow(RowKind.TOOL_RESULT, payload, 1, 1)])
    assert (await journal.read("session-1", claim="c"))[0].payload == payload
    assert (await journal.end_turn("session-1", 1, lambda _: [event_row(1)])).inserted


async def test_what_cannot_stand_in_the_journal_is_refused_before_it_is_sent(journal: Journal) -> None:
    await open_example(journal)
    with pytest.raises(ValueError, match="no rows"):
        await journal.append("session-1", "c", [])
    with pytest.raises(ValueError, match="JSON compliant"):
        await journal.append("session-1", "c", [NewRow(RowKind.EVENT, {"x": float("nan")})])
    with pytest.raises(ValueError, match="call_id"):
        await journal.append("session-1", "c", [NewRow(RowKind.TOOL_RESULT, {})])


@pytest.mark.database
async def test_what_repeating_cannot_mend_is_not_called_unavailable(
    postgres_urls: DatabaseUrls, open_journal: OpenJournal
) -> None:
    journal = await open_journal(postgres_urls.operator)
    with pytest.raises(sa.exc.DBAPIError, match="0x00"):
        await journal.append("session-1", "claim \0", [event_row(1)])


async def test_a_session_that_was_never_created_is_unknown(journal: Journal) -> None:
    with pytest.raises(UnknownSession):
        await journal.append("nobody", "c", [event_row(1)])
    with pytest.raises(UnknownSession):
        await journal.end_turn("nobody", 1, lambda _: [event_row(1)])
    assert await journal.session("nobody") is None
    assert await journal.read("nobody") == []


async def test_of_many_writers_under_one_claim_one_wins_and_all_go_on_with_its_rows(
    journal_url: str, open_journal: OpenJournal
) -> None:
    journals = [await open_journal(journal_url) for _ in range(4)]
    await open_example(journals[0])
    for step in range(10):
        attempts = [
            journals[n % 4].append("session-1", f"t1.s{step}/reply", [item_row(1, step, n), usage_row(1, step)])
            for n in range(12)
        ]
        results = await asyncio.gather(*attempts)
        assert sum(result.inserted for result in results) == 1
        assert all(result.rows == results[0].rows for result in results)
    rows = await journals[0].read("session-1")
    assert [row.seq for row in rows] == list(range(1, 23))


async def test_writers_under_many_claims_leave_no_gaps_and_no_doubles(
    journal_url: str, open_journal: OpenJournal
) -> None:
    journals = [await open_journal(journal_url) for _ in range(4)]
    for n in range(5):
        await open_example(journals[0], f"session-{n}")
    await asyncio.gather(
        *(
            journals[writer % 4].append(f"session-{writer % 5}", f"{writer}/{n}", [event_row(1)] * (1 + n % 3))
            for writer in range(20)
            for n in range(12)
        )
    )
    for n in range(5):
        rows = (await journals[0].read(f"session-{n}"))[2:]
        assert [row.seq for row in rows] == list(range(3, 3 + 4 * (1 + 2 + 3) * 4))
        assert len({(row.claim, row.ordinal) for row in rows}) == len(rows)


async def test_a_batch_that_cannot_be_written_whole_is_not_written_at_all(journal: Journal) -> None:
    await open_example(journal)
    await journal.append("session-1", "t1.s1.c0/result", [result_row(1, 1)])
    with pytest.raises(AlreadyRecorded):
        await journal.append("session-1", "other", [item_row(1, 2), result_row(1, 1), item_row(1, 3)])
    record = await journal.session("session-1")
    assert record is not None
    assert record.last_seq == 3
    assert len(await journal.read("session-1")) == 3
    assert (await journal.append("session-1", "other", [item_row(1, 2)])).rows[0].seq == 4


async def test_a_message_enters_the_conversation_once(journal: Journal) -> None:
    await open_example(journal)
    await journal.append("session-1", "t1.s1/reply", [admission_row(2, 1, 1), item_row(1, 1)])
    with pytest.raises(AlreadyRecorded):
        await journal.append("session-1", "t1.s2/reply", [admission_row(2, 1, 2)])


@asynccontextmanager
async def held_lock(url: str) -> AsyncIterator[None]:
    """Keep every append to session-1 waiting."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite+aiosqlite:///"), isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            yield
    else:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM sessions WHERE session = 'session-1' FOR UPDATE")
            yield
        await connection.close()


async def test_an_append_whose_caller_is_cancelled_is_finished(journal: Journal, journal_url: str) -> None:
    await open_example(journal)
    async with held_lock(journal_url):
        waiting = asyncio.create_task(journal.append("session-1", "x", [event_row(1)]))
        await asyncio.sleep(0.3)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    async with asyncio.timeout(30):
        while len(await journal.read("session-1", claim="x")) == 0:
            await asyncio.sleep(0.05)


async def test_cancelled_appends_leave_whole_claims_or_nothing(journal: Journal) -> None:
    await open_example(journal)
    chance = random.Random(7)
    for n in range(60):
        task = asyncio.create_task(journal.append("session-1", f"claim/{n}", [event_row(1)] * 3))
        await asyncio.sleep(chance.uniform(0, 0.004))
        task.cancel()
        await asyncio.wait([task])
    settled = [await journal.append("session-1", f"claim/{n}", [event_row(1)] * 3) for n in range(60)]
    assert all(len(result.rows) == 3 for result in settled)
    rows = await journal.read("session-1")
    assert [row.seq for row in rows] == list(range(1, 2 + 60 * 3 + 1))
