"""The end of a turn: one transaction that answers every open call, admits waiting steering and closes the fence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import pytest

from codex_api.rows import Classification, Delivery, RowKind
from codex_journal.errors import TurnEnded
from codex_journal.journal import Journal
from codex_journal.rows import Appended, NewRow, TurnEnding
from codex_journal.testing import (
    admission_row,
    call_row,
    event_row,
    item_row,
    message_row,
    open_example,
    result_row,
)

OpenJournal = Callable[..., Awaitable[Journal]]


def settle(ending: TurnEnding) -> Sequence[NewRow]:
    outputs = [result_row(row.turn, row.step, row.payload["index"], "aborted") for row in ending.open_calls]
    admissions = [admission_row(row.seq, ending.turn, ending.last_step + 1) for row in ending.waiting_messages]
    return [*outputs, *admissions, event_row(ending.turn, "TurnAborted")]


async def test_it_settles_what_is_open_and_nothing_else(journal: Journal) -> None:
    await open_example(journal)
    calls = [
        call_row(1, 3, 0, Classification.AUTOMATIC),
        call_row(1, 3, 1, Classification.ASK),
        call_row(1, 3, 2, Classification.FORBIDDEN),
        call_row(1, 3, 3, Classification.AUTOMATIC),
    ]
    refused = result_row(1, 3, 2)
    await journal.append("session-1", "t1.s3/reply", [admission_row(2, 1, 3), *calls, refused])
    await journal.append("session-1", "t1.s3.c3/result", [result_row(1, 3, 3)])
    steering = await journal.append("session-1", "message/a", [message_row("a")])
    await journal.append("session-1", "message/b", [message_row("b", Delivery.QUEUE)])

    ended = await journal.end_turn("session-1", 1, settle)

    assert ended.inserted
    outputs, admissions = ended.rows[:2], ended.rows[2:3]
    assert [row.payload["call_id"] for row in outputs] == ["t1.s3.c0", "t1.s3.c1"]
    assert [(row.payload["message"], row.step) for row in admissions] == [(steering.rows[0].seq, 4)]
    assert ended.rows[3].payload["type"] == "TurnAborted"
    assert {row.claim for row in ended.rows} == {"t1/end"}
    assert [row.payload["key"] for row in await journal.waiting_messages("session-1")] == ["b"]
    record = await journal.session("session-1")
    assert record is not None
    assert record.ended_turn == 1


async def test_calls_of_other_turns_are_not_its_business(journal: Journal) -> None:
    await open_example(journal)
    await journal.append("session-1", "t1.s1/reply", [call_row(1, 1)])
    await journal.append("session-1", "t2.s1/reply", [call_row(2, 1)])
    ended = await journal.end_turn("session-1", 1, settle)
    assert [row.payload["call_id"] for row in ended.rows if row.kind is RowKind.TOOL_RESULT] == ["t1.s1.c0"]


async def test_a_turn_without_a_step_ends_too(journal: Journal) -> None:
    await open_example(journal)
    seen: list[TurnEnding] = []
    await journal.end_turn("session-1", 1, lambda ending: seen.append(ending) or [event_row(1)])  # type: ignore[func-returns-value]
    assert seen[0].last_step == 0
    assert [row.seq for row in seen[0].waiting_messages] == [2]


async def test_the_second_end_returns_what_stands_and_asks_nobody(journal: Journal) -> None:
    await open_example(journal)
    first = await journal.end_turn("session-1", 1, settle)

    def never(ending: TurnEnding) -> NoReturn:
        raise AssertionError("built twice")

    again = await journal.end_turn("session-1", 1, never)
    assert not again.inserted
    assert again.rows == first.rows


async def test_a_build_that_fails_leaves_the_turn_open(journal: Journal) -> None:
    await open_example(journal)

    def fail(ending: TurnEnding) -> NoReturn:
        raise LookupError("no such template")

    with pytest.raises(LookupError):
        await journal.end_turn("session-1", 1, fail)
    record = await journal.session("session-1")
    assert record is not None
    assert (record.ended_turn, record.last_seq) == (0, 2)
    assert (await journal.end_turn("session-1", 1, settle)).inserted


async def test_of_many_endings_at_once_one_counts(journal_url: str, open_journal: OpenJournal) -> None:
    journals = [await open_journal(journal_url) for _ in range(3)]
    await open_example(journals[0])
    await journals[0].append("session-1", "t1.s1/reply", [call_row(1, 1), call_row(1, 1, 1)])
    results = await asyncio.gather(*(journals[n % 3].end_turn("session-1", 1, settle) for n in range(9)))
    assert sum(result.inserted for result in results) == 1
    assert all(result.rows == results[0].rows for result in results)


async def test_an_ending_that_races_with_results_leaves_one_result_for_each_call(
    journal_url: str, open_journal: OpenJournal
) -> None:
    worker, other = await open_journal(journal_url), await open_journal(journal_url)
    await open_example(worker)
    kept_by_worker = 0
    for turn in range(1, 26):
        calls = [call_row(turn, 1, index) for index in range(4)]
        await worker.append("session-1", f"t{turn}.s1/reply", [item_row(turn, 1), *calls])
        results = [worker.append("session-1", f"t{turn}.s1.c{n}/result", [result_row(turn, 1, n)]) for n in range(4)]
        # Some results before, some after: the order in which they reach the lock is the database's.
        outcomes: list[Appended | BaseException] = await asyncio.gather(
            *results[:2], other.end_turn("session-1", turn, settle), *results[2:], return_exceptions=True
        )
        assert all(isinstance(outcome, Appended | TurnEnded) for outcome in outcomes), outcomes
        written = await worker.read("session-1", turn=turn, kinds=[RowKind.TOOL_RESULT])
        assert sorted(row.payload["call_id"] for row in written) == [f"t{turn}.s1.c{n}" for n in range(4)]
        kept_by_worker += sum(row.claim != f"t{turn}/end" for row in written)
    assert 0 < kept_by_worker < 100, "the race always went the same way: this test showed nothing"
