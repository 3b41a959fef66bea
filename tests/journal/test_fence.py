"""The fence: who comes after the end of a turn or of the session does not write into the conversation."""

from __future__ import annotations

import pytest

from codex_api.rows import FENCED_KINDS, RowKind, SessionClosedPayload
from codex_journal.errors import SessionClosed, TurnEnded
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_journal.testing import call_row, event_row, item_row, open_example, result_row, usage_row

CLOSED = SessionClosedPayload(reason="SessionCancelled")
ABOUT = {"call_id": "t1.s1.c0", "message": 2, "item": {}}


async def test_an_attempt_that_wakes_after_its_turn_ended_is_refused_but_its_usage_is_kept(journal: Journal) -> None:
    await open_example(journal)
    await journal.end_turn("session-1", 1, lambda _: [event_row(1)])
    with pytest.raises(TurnEnded, match="turn 1"):
        await journal.append("session-1", "t1.s2/reply", [item_row(1, 2), usage_row(1, 2)])
    assert len(await journal.read("session-1")) == 3
    assert (await journal.append("session-1", "t1.s2/usage/late", [usage_row(1, 2)])).inserted


@pytest.mark.parametrize("kind", sorted(FENCED_KINDS))
async def test_every_row_of_the_conversation_is_fenced(journal: Journal, kind: RowKind) -> None:
    await open_example(journal)
    await journal.end_turn("session-1", 1, lambda _: [event_row(1)])
    with pytest.raises(TurnEnded):
        await journal.append("session-1", "late", [NewRow(kind, ABOUT, 1, 1)])
    await journal.close_session("session-1", CLOSED)
    with pytest.raises(SessionClosed):
        await journal.append("session-1", "late", [NewRow(kind, ABOUT, 2, 1)])


@pytest.mark.parametrize("kind", sorted(set(RowKind) - FENCED_KINDS))
async def test_no_other_row_is_fenced(journal: Journal, kind: RowKind) -> None:
    await open_example(journal)
    await journal.end_turn("session-1", 1, lambda _: [event_row(1)])
    await journal.close_session("session-1", CLOSED)
    assert (await journal.append("session-1", "late", [NewRow(kind, ABOUT, 1, 1)])).inserted


async def test_the_next_turn_passes_the_fence_of_the_one_before(journal: Journal) -> None:
    await open_example(journal)
    await journal.end_turn("session-1", 1, lambda _: [event_row(1)])
    assert (await journal.append("session-1", "t2.s1/reply", [item_row(2, 1)])).inserted


async def test_one_row_of_an_ended_turn_keeps_out_the_whole_claim(journal: Journal) -> None:
    await open_example(journal)
    await journal.end_turn("session-1", 1, lambda _: [event_row(1)])
    with pytest.raises(TurnEnded):
        await journal.append("session-1", "mixed", [item_row(2, 1), item_row(1, 9)])
    assert (await journal.append("session-1", "mixed", [item_row(2, 1)])).inserted


async def test_a_loser_that_repeats_its_claim_after_the_end_must_stop_too(journal: Journal) -> None:
    await open_example(journal)
    await journal.append("session-1", "t1.s1/reply", [item_row(1, 1)])
    await journal.end_turn("session-1", 1, lambda _: [event_row(1)])
    with pytest.raises(TurnEnded):
        await journal.append("session-1", "t1.s1/reply", [item_row(1, 1)])


async def test_a_closed_session_stays_closed_and_closes_once(journal: Journal) -> None:
    await open_example(journal)
    first = await journal.close_session("session-1", CLOSED)
    again = await journal.close_session("session-1", SessionClosedPayload(reason="SessionCompleted"))
    assert first.inserted
    assert not again.inserted
    assert again.rows == first.rows
    assert again.rows[0].payload == {"reason": "SessionCancelled"}
    record = await journal.session("session-1")
    assert record is not None
    assert record.closed


async def test_the_end_of_a_turn_passes_the_fence_of_a_closed_session(journal: Journal) -> None:
    await open_example(journal)
    await journal.append("session-1", "t1.s1/reply", [call_row(1, 1)])
    await journal.close_session("session-1", CLOSED)
    with pytest.raises(SessionClosed):
        await journal.append("session-1", "t1.s1.c0/result", [result_row(1, 1)])
    ended = await journal.end_turn(
        "session-1", 1, lambda ending: [result_row(1, 1) for _ in ending.open_calls] + [event_row(1)]
    )
    assert [row.kind for row in ended.rows] == [RowKind.TOOL_RESULT, RowKind.EVENT]
