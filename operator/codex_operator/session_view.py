"""A session's journal folded into what people may want to see of it. Pure: (SessionView, Row) → SessionView.

The view is bounded: it holds notes of open calls, pending approvals and a ring of events, never the transcript.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from codex_api import conditions
from codex_api.events import (
    AnyEvent,
    ApprovalDecided,
    ExecApprovalRequest,
    TurnAborted,
    TurnComplete,
    TurnDiff,
    TurnFailed,
    TurnStarted,
    event_adapter,
)
from codex_api.rows import (
    AdmissionPayload,
    RowKind,
    SandboxAddressPayload,
    SandboxReportPayload,
    SessionClosedPayload,
    ToolCallPayload,
    ToolResultPayload,
    UsagePayload,
)
from codex_api.session import EventStatus, PendingApproval, Usage
from codex_journal.rows import Row
from codex_operator.call_notes import CallNote, note_of
from codex_operator.display import escape, paragraph
from codex_operator.last_message import EVENT_CHARACTERS, LastMessage, beginning
from codex_operator.model_retries import Retries, RetryNote, add_retry, give_up, show_retry
from codex_operator.money import from_millionths
from codex_operator.row_events import asked_call, summarize

RING_SIZE = 32
DIRECTORY_BYTES = 1024
COMMAND_CHARACTERS = 2048


@dataclass(frozen=True)
class TurnEndNote:
    reason: str
    """TurnComplete, or the reason of an abort or failure."""
    message: str
    failed: bool = False


@dataclass(frozen=True)
class SessionView:
    seq: int = 0
    """Everything up to here is folded in."""
    turn: int = 0
    turn_running: bool = False
    last_end: TurnEndNote | None = None
    waiting_messages: frozenset[int] = frozenset()
    """Seqs of inbox messages that no request has admitted and no turn was started for."""
    open_calls: Mapping[str, CallNote] = field(default_factory=dict)
    """Calls of the running turn without a result, by call id."""
    pending: tuple[PendingApproval, ...] = ()
    usage: Usage = field(default_factory=Usage)
    cost_millionths: int | None = None
    """Of all priced model calls; None while there was none."""
    retry: RetryNote | None = None
    """The model retry that is being waited for."""
    retries: Retries = field(default_factory=dict)
    """Failures of the newest step that had any, by reason."""
    report: SandboxReportPayload | None = None
    sandbox_generation: int = 0
    closed: str | None = None
    """Reason of the session's close."""
    last_message: LastMessage | None = None
    diff_seq: int = 0
    """Of the running turn's newest diff: an older one is no longer shown."""
    events: tuple[EventStatus, ...] = ()


def _on_message(view: SessionView, row: Row) -> SessionView:
    return replace(view, waiting_messages=view.waiting_messages | {row.seq})


def _on_admission(view: SessionView, row: Row) -> SessionView:
    admitted = AdmissionPayload.model_validate(row.payload).message
    return replace(view, waiting_messages=view.waiting_messages - {admitted})


def _on_tool_call(view: SessionView, row: Row) -> SessionView:
    call = ToolCallPayload.model_validate(row.payload)
    return replace(view, open_calls={**view.open_calls, call.call_id: note_of(call)})


def _on_tool_result(view: SessionView, row: Row) -> SessionView:
    result = ToolResultPayload.model_validate(row.payload)
    note = view.open_calls.get(result.call_id)
    return replace(
        view,
        open_calls={call: other for call, other in view.open_calls.items() if call != result.call_id},
        pending=tuple(p for p in view.pending if note is None or p.id != note.approval_id),
        usage=view.usage.model_copy(update={"tool_calls": view.usage.tool_calls + 1}),
    )


def _on_usage(view: SessionView, row: Row) -> SessionView:
    used, before = UsagePayload.model_validate(row.payload), view.usage
    cost = view.cost_millionths
    if used.cost_millionths is not None:
        cost = (cost or 0) + used.cost_millionths
    usage = Usage(
        model_calls=before.model_calls + 1,
        tool_calls=before.tool_calls,
        input_tokens=before.input_tokens + used.input_tokens,
        cached_input_tokens=before.cached_input_tokens + used.cached_input_tokens,
        output_tokens=before.output_tokens + used.output_tokens,
        total_tokens=before.total_tokens + used.input_tokens + used.output_tokens,
        cost=None if cost is None else from_millionths(cost),
    )
    # What a failed attempt cost is journaled with its failure; only a reply ends the waiting.
    failed = view.retry is not None and view.retry.claim == row.claim
    return replace(view, usage=usage, cost_millionths=cost, retry=view.retry if failed else None)


def _on_item(view: SessionView, _: Row) -> SessionView:
    return replace(view, retry=None)


def _on_retry(view: SessionView, row: Row) -> SessionView:
    note, retries = add_retry(view.retries, row)
    before = view.retries.get(note.reason) if note.times > 1 else None
    events = show_retry(view.events, before, note, row)[-RING_SIZE:]
    return replace(view, retry=note, retries=retries, events=events)


def _on_report(view: SessionView, row: Row) -> SessionView:
    return replace(view, report=SandboxReportPayload.model_validate(row.payload))


def _on_address(view: SessionView, row: Row) -> SessionView:
    generation = SandboxAddressPayload.model_validate(row.payload).generation
    return replace(view, sandbox_generation=max(view.sandbox_generation, generation))


def _on_closed(view: SessionView, row: Row) -> SessionView:
    reason = SessionClosedPayload.model_validate(row.payload).reason
    # The rows that end its turn come after it, and tell of the calls that were open.
    return replace(_moot(view), turn_running=False, closed=reason)


def _ended(view: SessionView, turn: int, note: TurnEndNote) -> SessionView:
    return replace(_without_turn(view), turn=max(view.turn, turn), last_end=note)


def _without_turn(view: SessionView) -> SessionView:
    return replace(_moot(view), turn_running=False, open_calls={})


def _moot(view: SessionView) -> SessionView:
    """Drop what a turn waited for."""
    events = give_up(view.events, view.retry) if view.retry else view.events
    return replace(view, pending=(), retry=None, retries={}, events=events)


def _requested(view: SessionView, event: ExecApprovalRequest) -> SessionView:
    note = asked_call(event, view.open_calls)
    if note is None:
        return view
    command = escape(note.preview)
    pending = PendingApproval(
        id=event.approval_id,
        kind=note.kind,
        command=command[:COMMAND_CHARACTERS],
        directory=paragraph(note.directory, DIRECTORY_BYTES),
        justification=note.justification or None,
        digest=note.digest,
        # What is not shown whole cannot be approved.
        truncated=note.truncated or len(command) > COMMAND_CHARACTERS,
        request_time=event.request_time,
        expiration_time=event.expiration_time,
    )
    return replace(view, pending=(*(p for p in view.pending if p.id != pending.id), pending))


def _on_event(view: SessionView, row: Row) -> SessionView:
    event: AnyEvent = event_adapter.validate_python(row.payload)
    match event:
        case TurnStarted():
            waiting = view.waiting_messages - {event.message}
            view = replace(view, turn=max(view.turn, event.turn), waiting_messages=waiting)
            return replace(view, turn_running=True, last_end=None, diff_seq=0)
        case TurnDiff():
            others = tuple(e for e in view.events if e.seq != view.diff_seq)
            return replace(view, diff_seq=row.seq, events=others)
        case ExecApprovalRequest():
            return _requested(view, event)
        case ApprovalDecided():
            return replace(view, pending=tuple(p for p in view.pending if p.id != event.approval_id))
        case TurnComplete():
            if said := event.last_agent_message:
                # Whether it is all that was said tells the item itself, which the projector reads.
                message = beginning(said, more=len(said) >= EVENT_CHARACTERS)
                view = replace(view, last_message=message)
            return _ended(view, event.turn, TurnEndNote(conditions.REASON_TURN_COMPLETE, "the turn is complete"))
        case TurnAborted():
            return _ended(view, event.turn, TurnEndNote(event.reason, event.message or "the turn was ended early"))
        case TurnFailed():
            note = TurnEndNote(event.reason, event.message or "the turn could not go on", failed=True)
            return _ended(view, event.turn, note)
        case _:
            return view


FOLDS: Mapping[RowKind, Callable[[SessionView, Row], SessionView]] = {
    RowKind.SESSION_CLOSED: _on_closed,
    RowKind.MESSAGE: _on_message,
    RowKind.SANDBOX_ADDRESS: _on_address,
    RowKind.ADMISSION: _on_admission,
    RowKind.ITEM: _on_item,
    RowKind.TOOL_CALL: _on_tool_call,
    RowKind.TOOL_RESULT: _on_tool_result,
    RowKind.USAGE: _on_usage,
    RowKind.MODEL_RETRY: _on_retry,
    RowKind.SANDBOX_REPORT: _on_report,
    RowKind.EVENT: _on_event,
}


def fold(view: SessionView, row: Row) -> SessionView:
    """Add one row; rows that are folded in already change nothing.

    Raises pydantic.ValidationError where a payload does not fit its kind.
    """
    if row.seq <= view.seq:
        return view
    shown = summarize(row, view.open_calls)
    folded = FOLDS[row.kind](view, row) if row.kind in FOLDS else view
    events = (*folded.events, shown)[-RING_SIZE:] if shown else folded.events
    return replace(folded, seq=row.seq, events=events)
