"""The rows that end a turn, however it ends: nothing stays open, nothing a person said is lost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codex_api.conditions import REASON_APPROVAL_ABORTED, REASON_INTERRUPTED, REASON_SESSION_CLOSED
from codex_api.events import TurnAborted, TurnComplete, TurnEnd
from codex_api.rows import (
    POSITION_ITEM,
    ContextPayload,
    ItemPayload,
    MessagePayload,
    RowKind,
    ToolCallPayload,
    ToolResultPayload,
)
from codex_journal.rows import NewRow, TurnEnding
from codex_worker.context import context_rows
from codex_worker.items import user_message_item
from codex_worker.reply import admission_rows, output_of, result_row
from codex_worker.tools import outcomes

BY_A_PERSON = frozenset({REASON_INTERRUPTED, REASON_APPROVAL_ABORTED, REASON_SESSION_CLOSED})
ABORTED_NOTICE = (
    "<turn_aborted>\nThe turn was ended on purpose before you were done ({reason}). Commands that were running "
    "have been stopped and may have partly run: look before you repeat them.\n</turn_aborted>"
)


def turn_end_rows(
    ending: TurnEnding,
    end: TurnEnd,
    first: Mapping[int, MessagePayload],
    context: Sequence[ContextPayload] = (),
) -> list[NewRow]:
    """Return the outputs of open calls, admissions and the event.

    ``first`` is the message that started the turn where no request has admitted it yet; then ``context``, what the
    conversation does not tell yet, comes before it, where the next request expects it. Steering that still waits is
    admitted when the turn is aborted; otherwise it starts the next turn.
    """
    reason = "" if isinstance(end, TurnComplete) else end.reason
    told = outcomes.aborted() if reason in BY_A_PERSON else outcomes.cut_off(reason)
    rows = []
    for row in ending.open_calls:
        call = ToolCallPayload.model_validate(row.payload)
        result = ToolResultPayload(call_id=call.call_id, item=output_of(call, told), outcome="aborted")
        rows.append(result_row(result, row.turn, row.step, call.index))
    messages = dict(first)
    step = ending.last_step + 1
    if isinstance(end, TurnAborted):
        messages |= {row.seq: MessagePayload.model_validate(row.payload) for row in ending.waiting_messages}
    if first:
        rows += context_rows(context, ending.turn, step)
    rows += admission_rows(messages, ending.turn, step)
    if isinstance(end, TurnAborted) and end.reason != REASON_SESSION_CLOSED:
        notice = ItemPayload(item=user_message_item(ABORTED_NOTICE.format(reason=end.reason)))
        rows.append(NewRow(RowKind.ITEM, notice.model_dump(), ending.turn, step, POSITION_ITEM))
    rows.append(NewRow(RowKind.EVENT, end.model_dump(mode="json"), ending.turn, step))
    return rows
