"""A model's reply as journal rows, and those rows as the summary that crosses Temporal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codex_api.names import step_label
from codex_api.rows import (
    POSITION_ADMISSION,
    POSITION_ITEM,
    POSITION_OUTPUT,
    AdmissionPayload,
    Classification,
    ItemPayload,
    MessagePayload,
    RowKind,
    ToolCallPayload,
    ToolResultPayload,
    UsagePayload,
)
from codex_api.workflow_payloads import CallSummary, ModelCallReply
from codex_journal.rows import NewRow, Row
from codex_worker.items import user_message_item
from codex_worker.tools.call_context import CallContext
from codex_worker.tools.output import Output, call_output
from codex_worker.tools.prepare import prepare_reply
from codex_worker.transcript import REPLY_CLAIM_SUFFIX

OPEN_CLASSIFICATIONS = (Classification.AUTOMATIC, Classification.ASK)
PREVIEW_CHARACTERS = 80
MESSAGE_CHARACTERS = 1_000


def reply_claim(turn: int, step: int) -> str:
    return step_label(turn, step) + REPLY_CLAIM_SUFFIX


def admission_rows(messages: Mapping[int, MessagePayload], turn: int, step: int) -> list[NewRow]:
    """Return the rows by which messages enter the conversation, just before the step's reply."""
    return [
        NewRow(
            RowKind.ADMISSION,
            AdmissionPayload(message=seq, item=user_message_item(message.text)).model_dump(),
            turn,
            step,
            POSITION_ADMISSION + ordinal,
        )
        for ordinal, (seq, message) in enumerate(sorted(messages.items()))
    ]


def result_row(result: ToolResultPayload, turn: int, step: int, index: int) -> NewRow:
    return NewRow(RowKind.TOOL_RESULT, result.model_dump(), turn, step, POSITION_OUTPUT + index)


def output_of(call: ToolCallPayload, output: Output) -> dict[str, Any]:
    """Return the item that answers a call."""
    return call_output(call.provider_call_id, output, custom=call.custom)


def reply_rows(
    context: CallContext,
    *,
    messages: Mapping[int, MessagePayload],
    items: Sequence[dict[str, Any]],
    usage: UsagePayload,
    context_rows: Sequence[NewRow] = (),
) -> list[NewRow]:
    """Return all rows of a step in the order of the conversation, its usage last.

    ``context_rows``, admitted messages, items, calls as judged, outputs of calls that cannot run.
    """
    turn, step = context.turn, context.step
    rows = [*context_rows, *admission_rows(messages, turn, step)]
    rows += [
        NewRow(RowKind.ITEM, ItemPayload(item=item).model_dump(), turn, step, POSITION_ITEM + ordinal)
        for ordinal, item in enumerate(items)
    ]
    for call in prepare_reply(items, context):
        rows.append(NewRow(RowKind.TOOL_CALL, call.payload.model_dump(mode="json"), turn, step))
        if call.output is not None:
            refused = ToolResultPayload(call_id=call.payload.call_id, item=call.output, outcome="refused")
            rows.append(result_row(refused, turn, step, call.payload.index))
    rows.append(NewRow(RowKind.USAGE, usage.model_dump(), turn, step))
    return rows


def summarize_call(call: ToolCallPayload) -> CallSummary:
    return CallSummary(
        call_id=call.call_id,
        tool=call.tool,
        digest=call.digest,
        preview=call.preview[:PREVIEW_CHARACTERS],
        classification=call.classification,
        serial=call.serial,
        approval_id=call.approval_id,
    )


def message_text(item: Mapping[str, Any]) -> str:
    """Return the text of an assistant message item, empty for any other item."""
    if item.get("type") != "message" or item.get("role") != "assistant":
        return ""
    return "".join(part.get("text", "") for part in item.get("content", []) if part.get("type") == "output_text")


def final_message(rows: Sequence[Row]) -> str:
    """Return the last message among a reply's rows, whole."""
    texts = (message_text(row.payload["item"]) for row in reversed(rows) if row.kind is RowKind.ITEM)
    return next((text for text in texts if text), "")


def reply_summary(rows: Sequence[Row]) -> ModelCallReply:
    """Return what the workflow needs to know of a step whose rows are these."""
    calls = [ToolCallPayload.model_validate(row.payload) for row in rows if row.kind is RowKind.TOOL_CALL]
    follow_up = bool(calls)
    text, seq = "", 0
    if not follow_up:
        for row in rows:
            if row.kind is RowKind.ITEM and (found := message_text(row.payload["item"])):
                text, seq = found, row.seq
    return ModelCallReply(
        follow_up=follow_up,
        calls=[summarize_call(call) for call in calls if call.classification in OPEN_CLASSIFICATIONS],
        admitted_seq=[row.payload["message"] for row in rows if row.kind is RowKind.ADMISSION],
        last_message=text[:MESSAGE_CHARACTERS],
        last_message_seq=seq,
    )
