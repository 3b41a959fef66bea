"""Reading: tails by number, the conversation in the model's order, messages that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from codex_api.rows import Delivery, RowKind
from codex_journal.errors import JournalUnavailable
from codex_journal.journal import Journal
from codex_journal.testing import (
    admission_row,
    call_row,
    event_row,
    item_row,
    message_row,
    open_example,
    result_row,
    usage_row,
)

OpenJournal = Callable[..., Awaitable[Journal]]


async def test_every_filter_narrows_and_all_can_be_combined(journal: Journal) -> None:
    await open_example(journal)
    await journal.append("session-1", "t1.s1/reply", [item_row(1, 1), call_row(1, 1), usage_row(1, 1)])
    await journal.append("session-1", "t1.s2/reply", [item_row(1, 2), usage_row(1, 2)])
    await journal.append("session-1", "t2.s1/reply", [item_row(2, 1)])

    async def seqs(**wanted: object) -> list[int]:
        return [row.seq for row in await journal.read("session-1", **wanted)]  # type: ignore[arg-type]

    assert await seqs() == list(range(1, 9))
    assert await seqs(after=6) == [7, 8]
    assert await seqs(limit=2) == [1, 2]
    assert await seqs(kinds={RowKind.USAGE}) == [5, 7]
    assert await seqs(kinds=[]) == []
    assert await seqs(turn=1, step=2) == [6, 7]
    assert await seqs(claim="t1.s1/reply") == [3, 4, 5]
    assert await seqs(after=3, kinds={RowKind.ITEM, RowKind.USAGE}, turn=1, limit=2) == [5, 6]


async def test_the_conversation_is_in_the_models_order_and_not_in_that_of_arrival(journal: Journal) -> None:
    await open_example(journal)
    await journal.append("session-1", "message/late", [message_row("late")])
    await journal.append("session-1", "t1.s1/reply", [item_row(1, 1), call_row(1, 1, 0), call_row(1, 1, 1)])
    await journal.append("session-1", "t1.s2/reply", [item_row(1, 2), admission_row(3, 1, 2)])
    await journal.append("session-1", "t1.s1.c1/result", [result_row(1, 1, 1, "second")])
    await journal.append("session-1", "t1.s1.c0/result", [result_row(1, 1, 0, "first")])
    said = [
        (row.kind, row.payload["item"].get("content") or row.payload["item"]["output"])
        for row in await journal.conversation("session-1")
    ]
    assert said == [
        (RowKind.ITEM, "item 1.1.0"),
        (RowKind.TOOL_RESULT, "first"),
        (RowKind.TOOL_RESULT, "second"),
        (RowKind.ADMISSION, "message 3"),
        (RowKind.ITEM, "item 1.2.0"),
    ]
    newer = await journal.conversation("session-1", after=8)
    assert [row.seq for row in newer] == [10, 9]


async def test_a_message_waits_until_it_is_admitted(journal: Journal) -> None:
    await open_example(journal)
    for key, delivery in (("a", Delivery.STEER), ("b", Delivery.QUEUE)):
        await journal.append("session-1", f"message/{key}", [message_row(key, delivery)])
    assert [row.payload["key"] for row in await journal.waiting_messages("session-1")] == ["prompt", "a", "b"]
    await journal.append("session-1", "t1.s1/reply", [admission_row(2, 1, 1), admission_row(4, 1, 1)])
    assert [row.payload["key"] for row in await journal.waiting_messages("session-1")] == ["a"]


async def test_admissions_of_another_session_admit_nothing_here(journal: Journal) -> None:
    await open_example(journal, "a")
    await open_example(journal, "b")
    await journal.append("b", "t1.s1/reply", [admission_row(2, 1, 1)])
    assert [row.seq for row in await journal.waiting_messages("a")] == [2]


async def test_a_tail_by_number_misses_nothing_under_eight_writers(journal_url: str, open_journal: OpenJournal) -> None:
    journals = [await open_journal(journal_url) for _ in range(2)]
    reader = await open_journal(journal_url)
    await open_example(reader)
    seen: list[int] = []

    async def tail() -> None:
        while True:
            seen.extend(row.seq for row in await reader.read("session-1", after=seen[-1] if seen else 0))

    async def write(writer: int) -> None:
        for n in range(25):
            await journals[writer % 2].append("session-1", f"{writer}/{n}", [event_row(1)] * (1 + n % 2))

    tailing = asyncio.create_task(tail())
    await asyncio.gather(*(write(writer) for writer in range(8)))
    async with asyncio.timeout(10):
        while not seen or seen[-1] < 2 + 8 * (13 + 24):
            await asyncio.sleep(0.01)
    tailing.cancel()
    with suppress(asyncio.CancelledError):
        await tailing
    assert seen == list(range(1, 2 + 8 * (13 + 24) + 1))


async def test_reads_that_are_cancelled_cost_the_next_one_nothing(journal: Journal) -> None:
    await open_example(journal)
    for n in range(40):
        reading = asyncio.create_task(journal.read("session-1"))
        await asyncio.sleep(n * 0.0001)
        reading.cancel()
        await asyncio.wait([reading])
    assert len(await journal.read("session-1")) == 2
    assert (await journal.append("session-1", "x", [event_row(1)])).inserted


async def test_a_closed_journal_refuses_what_is_asked_of_it(journal: Journal) -> None:
    await journal.close()
    with pytest.raises(JournalUnavailable, match="closed"):
        await journal.session("session-1")
