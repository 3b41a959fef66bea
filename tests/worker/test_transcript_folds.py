"""The fold of a session's rows, against the plainest reading of the journal there is."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codex_api.rows import (
    CONVERSATION_KINDS,
    POSITION_ADMISSION,
    POSITION_COMPACTION,
    POSITION_CONTEXT,
    POSITION_ITEM,
    POSITION_OUTPUT,
    RowKind,
    UsagePayload,
)
from codex_journal.rows import Row
from codex_worker.items import user_message_item
from codex_worker.token_estimates import item_tokens
from codex_worker.transcript import Transcript

POSITIONS = {
    RowKind.CONTEXT: POSITION_CONTEXT,
    RowKind.ADMISSION: POSITION_ADMISSION,
    RowKind.ITEM: POSITION_ITEM,
    RowKind.TOOL_RESULT: POSITION_OUTPUT,
    RowKind.COMPACTION: POSITION_COMPACTION,
    RowKind.USAGE: 0,
}
steps = st.tuples(st.integers(1, 3), st.integers(1, 4))


def payload_of(kind: RowKind, number: int) -> dict[str, Any]:
    item = user_message_item(f"{kind.value} {number}")
    match kind:
        case RowKind.CONTEXT:
            return {"part": f"part-{number % 3}", "state": str(number), "item": item}
        case RowKind.ADMISSION:
            return {"message": number, "item": item}
        case RowKind.TOOL_RESULT:
            return {"call_id": f"c{number}", "item": item}
        case RowKind.COMPACTION:
            return {"reason": "limit", "items": [user_message_item("kept"), user_message_item(f"summary {number}")]}
        case RowKind.USAGE:
            return UsagePayload(model="m", input_tokens=number, output_tokens=1, cost_millionths=number).model_dump()
    return {"item": item}


def rows_of(kinds: list[tuple[RowKind, tuple[int, int]]]) -> list[Row]:
    now = datetime.now(UTC)
    return [
        Row("s", seq, turn, step, POSITIONS[kind], kind, f"t{turn}.s{step}/x{seq}", 0, payload_of(kind, seq), now)
        for seq, (kind, (turn, step)) in enumerate(kinds, start=1)
    ]


def folded(rows: list[Row]) -> Transcript:
    transcript = Transcript()
    for row in rows:
        transcript.apply(row)
    return transcript


def plainly(rows: list[Row]) -> list[Row]:
    """Return what stands in the conversation: the newest compaction and all behind it, in order."""
    ordered = [row for row in rows if row.kind in CONVERSATION_KINDS]
    ordered.sort(key=lambda row: (row.turn, row.step, row.position, row.seq))
    for index in range(len(ordered) - 1, -1, -1):
        if ordered[index].kind is RowKind.COMPACTION:
            return ordered[index:]
    return ordered


@given(st.lists(st.tuples(st.sampled_from(list(POSITIONS)), steps), max_size=25))
def test_the_conversation_is_what_the_journal_says(kinds: list[tuple[RowKind, tuple[int, int]]]) -> None:
    rows = rows_of(kinds)
    transcript = folded(rows)
    standing = plainly(rows)
    expected: list[dict[str, Any]] = []
    for row in standing:
        expected += row.payload["items"] if row.kind is RowKind.COMPACTION else [row.payload["item"]]
    assert transcript.items() == expected
    said = [row for row in standing if row.kind in (RowKind.ADMISSION, RowKind.COMPACTION)]
    assert len(transcript.user_messages()) == len(said)
    new = {row.kind for row in standing} - {RowKind.CONTEXT, RowKind.COMPACTION}
    assert transcript.can_be_compacted() == bool(new)
    assert transcript.cost_millionths == sum(row.seq for row in rows if row.kind is RowKind.USAGE)
    # No reply's own usage is among the rows: everything is estimated.
    assert transcript.active_tokens() == (sum(map(item_tokens, expected)), False)


def reply(turn: int, step: int, seq: int, total: int) -> list[Row]:
    now = datetime.now(UTC)
    item = {"item": user_message_item("x" * 4000)}
    usage = UsagePayload(model="m", input_tokens=total, output_tokens=0).model_dump()
    claim = f"t{turn}.s{step}/reply"
    return [
        Row("s", seq, turn, step, POSITION_ITEM, RowKind.ITEM, claim, 0, item, now),
        Row("s", seq + 1, turn, step, 0, RowKind.USAGE, claim, 1, usage, now),
    ]


def test_the_size_is_what_the_provider_counted_last_and_an_estimate_of_what_came_since() -> None:
    rows = reply(1, 1, 1, 500) + reply(1, 2, 3, 900)
    assert folded(rows).active_tokens() == (900, True)
    output = {"call_id": "c", "item": user_message_item("y" * 400)}
    later = Row("s", 5, 1, 2, POSITION_OUTPUT, RowKind.TOOL_RESULT, "t1.s2.c0/result", 0, output, rows[0].at)
    assert folded([*rows, later]).active_tokens() == (900 + item_tokens(output["item"]), True)


def test_a_provider_that_counts_nothing_is_not_believed() -> None:
    tokens, complete = folded(reply(1, 1, 1, 0)).active_tokens()
    assert tokens > 900
    assert not complete


def test_what_a_compaction_replaced_takes_no_memory_any_more() -> None:
    kinds = [RowKind.COMPACTION, RowKind.TOOL_RESULT] * 3
    rows = rows_of([(kind, (1, 1 + number // 2)) for number, kind in enumerate(kinds)])
    transcript = folded(rows)
    references = [weakref.ref(row) for row in rows]
    del rows
    gc.collect()
    assert [reference() is not None for reference in references] == [False, False, False, False, True, True]
    assert len(transcript.items()) == 3
