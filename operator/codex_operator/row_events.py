"""Journal rows as lines that a person likes to read: ``status.events`` and the milestones of ``kubectl describe``."""

from __future__ import annotations

from collections.abc import Mapping

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import (
    ApprovalDecided,
    CompactionSkipped,
    ExecApprovalRequest,
    SandboxReset,
    SessionCompleted,
    TurnAborted,
    TurnComplete,
    TurnDiff,
    TurnFailed,
    TurnStarted,
    event_adapter,
)
from codex_api.rows import (
    CompactionPayload,
    RowKind,
    SandboxAddressPayload,
    SandboxReportPayload,
    SessionClosedPayload,
    ToolIntentPayload,
    ToolResultPayload,
)
from codex_api.session import EventStatus
from codex_api.tools import APPLY_PATCH, EXEC_COMMAND, REQUEST_USER_INPUT, UPDATE_PLAN, WRITE_STDIN
from codex_journal.rows import Row
from codex_operator.call_notes import COMMAND_BYTES, KIND_QUESTION, CallNote, changed_files
from codex_operator.display import duration, one_line
from codex_operator.turn_diff import summarize_diff

SUMMARY_BYTES = 200
DIFF_EVENT = "TurnDiff"

Calls = Mapping[str, CallNote]

DECIDED = {
    DecisionKind.APPROVE: "approved",
    DecisionKind.DENY: "denied",
    DecisionKind.ABORT: "aborted",
    DecisionKind.EXPIRE: "expired",
    # For anything but a question an answer is a refusal in words.
    DecisionKind.ANSWER: "denied",
}
CLOSED = {
    conditions.REASON_SESSION_COMPLETED: "the session is completed",
    conditions.REASON_SESSION_CANCELLED: "the session was cancelled",
    conditions.REASON_DEADLINE_EXCEEDED: "the session has failed: its deadline passed",
}
COMMAND_EVENTS = ("ExecCommandBegin", "ExecCommandEnd")
PATCH_EVENTS = ("PatchApplyBegin", "PatchApplyEnd")
OTHER_EVENTS = ("ToolCallBegin", "ToolCallEnd")
COMMAND_TOOLS = frozenset({EXEC_COMMAND, WRITE_STDIN})
# What a person decided about a question is an event of its own.
DECIDED_OUTCOMES = frozenset({"answered", "denied", "expired"})


def _command(calls: Calls, call_id: str) -> str:
    note = calls.get(call_id)
    return (note.title or note.tool) if note else call_id


def _begin_and_end(note: CallNote | None) -> tuple[str, str]:
    if note is None or note.tool in COMMAND_TOOLS:
        return COMMAND_EVENTS
    return PATCH_EVENTS if note.tool == APPLY_PATCH else OTHER_EVENTS


def asked_call(event: ExecApprovalRequest, calls: Calls) -> CallNote | None:
    """Return the open call an approval is asked for; None where the journaled call was not given that approval id.

    An event alone is not believed: it could show one command under the approval id of another.
    """
    note = calls.get(event.call_id)
    return note if note is not None and event.approval_id and note.approval_id == event.approval_id else None


def _decided(event: ApprovalDecided, calls: Calls) -> str:
    note = calls.get(event.call_id)
    answered = event.decision is DecisionKind.ANSWER and note is not None and note.kind == KIND_QUESTION
    decided = "answered" if answered else DECIDED[event.decision]
    who = f" by {event.decided_by}" if event.decided_by else ""
    why = f" ({one_line(event.reason, COMMAND_BYTES)})" if event.reason else ""
    return f"{decided}{who} after {duration(event.waited_seconds)}{why}: {_command(calls, event.call_id)}"


def _protocol_event(row: Row, calls: Calls) -> tuple[str, str] | None:
    event = event_adapter.validate_python(row.payload)
    match event:
        case TurnStarted():
            text = f"turn {event.turn} started"
        case ExecApprovalRequest():
            if asked_call(event, calls) is None:
                return None
            text = _command(calls, event.call_id)
        case ApprovalDecided():
            text = _decided(event, calls)
        case TurnComplete():
            text = f"turn {event.turn}: {event.last_agent_message or 'complete'}"
        case TurnAborted() | TurnFailed():
            text = f"turn {event.turn}: {event.reason}{': ' + event.message if event.message else ''}"
        case TurnDiff():
            text = summarize_diff(event.unified_diff).line(truncated=event.truncated)
        case CompactionSkipped():
            text = f"the conversation is not summarised: {event.message}"
        case SandboxReset():
            text = event.message or "the sandbox is being replaced"
        case SessionCompleted():
            text = f"the session is over ({event.reason})"
    return event.type, text


def _result(row: Row, calls: Calls) -> tuple[str, str] | None:
    result = ToolResultPayload.model_validate(row.payload)
    note, command = calls.get(result.call_id), _command(calls, result.call_id)
    _, kind = _begin_and_end(note)
    if note is not None and note.tool == REQUEST_USER_INPUT and result.outcome in DECIDED_OUTCOMES:
        return None
    if result.outcome not in ("completed", "answered"):
        return kind, f"{result.outcome}: {command}"
    if note is not None and note.tool == UPDATE_PLAN:
        return "PlanUpdate", command
    if result.process is not None and result.exit_code is None:
        return kind, f"still running as process {result.process}: {command}"
    status = f"exit {result.exit_code}" if result.exit_code is not None else "done"
    files = changed_files(result.changes)
    return kind, f"{status} after {duration(result.duration_seconds)}: {files or command}"


def _report(row: Row) -> tuple[str, str]:
    report = SandboxReportPayload.model_validate(row.payload)
    if report.isolated is False:
        return (
            "SandboxNotIsolated",
            f"generation {report.generation} reached {', '.join(report.reached) or 'the network'}",
        )
    if report.ready:
        return "SandboxReady", f"generation {report.generation} answers"
    return "SandboxNotReady", f"generation {report.generation}: {report.reason} {report.message}"


def _line(row: Row, calls: Calls) -> tuple[str, str] | None:
    match row.kind:
        case RowKind.EVENT:
            return _protocol_event(row, calls)
        case RowKind.TOOL_INTENT:
            call_id = ToolIntentPayload.model_validate(row.payload).call_id
            return _begin_and_end(calls.get(call_id))[0], _command(calls, call_id)
        case RowKind.TOOL_RESULT:
            return _result(row, calls)
        case RowKind.COMPACTION:
            reason = CompactionPayload.model_validate(row.payload).reason
            return "ContextCompacted", f"context compacted ({reason})"
        case RowKind.SANDBOX_ADDRESS:
            generation = SandboxAddressPayload.model_validate(row.payload).generation
            return "SandboxStarted", f"generation {generation} is running"
        case RowKind.SANDBOX_REPORT:
            return _report(row)
        case RowKind.SESSION_CLOSED:
            reason = SessionClosedPayload.model_validate(row.payload).reason
            return "SessionClosed", CLOSED.get(reason, f"the session has failed ({reason})")
        case _:
            return None


def summarize(row: Row, calls: Calls) -> EventStatus | None:
    """Return the row as an event of the status, or None for rows that are no event of their own.

    Model retries are none of their own: see model_retries.
    """
    line = _line(row, calls)
    return event_status(row, *line) if line is not None else None


def event_status(row: Row, kind: str, text: str) -> EventStatus:
    time = row.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return EventStatus(seq=row.seq, time=time, type=kind, summary=one_line(text, SUMMARY_BYTES))
