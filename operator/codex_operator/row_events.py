"""Journal rows as lines that a person likes to read: ``status.events`` and the milestones of ``kubectl describe``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import (
    ApprovalDecided,
    ExecApprovalRequest,
    SandboxReset,
    SessionCompleted,
    TurnAborted,
    TurnComplete,
    TurnFailed,
    TurnStarted,
    event_adapter,
)
from codex_api.rows import (
    RowKind,
    SandboxAddressPayload,
    SandboxReportPayload,
    SessionClosedPayload,
    ToolIntentPayload,
    ToolResultPayload,
)
from codex_api.session import EventStatus
from codex_journal.rows import Row
from codex_operator.display import duration, one_line

SUMMARY_BYTES = 200
COMMAND_BYTES = 120


@dataclass(frozen=True)
class CallNote:
    """What is remembered of an open call."""

    tool: str = ""
    preview: str = ""
    directory: str = ""
    digest: str = ""
    truncated: bool = False
    approval_id: str = ""


Calls = Mapping[str, CallNote]

DECIDED = {
    DecisionKind.APPROVE: "approved",
    DecisionKind.DENY: "denied",
    DecisionKind.ABORT: "aborted",
    DecisionKind.EXPIRE: "expired",
}


def _command(calls: Calls, call_id: str) -> str:
    note = calls.get(call_id)
    return one_line(note.preview or note.tool, COMMAND_BYTES) if note else call_id


def asked_call(event: ExecApprovalRequest, calls: Calls) -> CallNote | None:
    """Return the open call an approval is asked for; None where the journaled call was not given that approval id.

    An event alone is not believed: it could show one command under the approval id of another.
    """
    note = calls.get(event.call_id)
    return note if note is not None and event.approval_id and note.approval_id == event.approval_id else None


def _decided(event: ApprovalDecided, calls: Calls) -> str:
    who = f" by {event.decided_by}" if event.decided_by else ""
    why = f" ({event.reason})" if event.reason else ""
    waited = duration(event.waited_seconds)
    return f"{DECIDED[event.decision]}{who} after {waited}{why}: {_command(calls, event.call_id)}"


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
        case SandboxReset():
            text = event.message or "the sandbox is being replaced"
        case SessionCompleted():
            text = f"the session is over ({event.reason})"
    return event.type, text


def _result(row: Row, calls: Calls) -> tuple[str, str]:
    result = ToolResultPayload.model_validate(row.payload)
    command = _command(calls, result.call_id)
    if result.outcome != "completed":
        return "ExecCommandEnd", f"{result.outcome}: {command}"
    if result.process is not None and result.exit_code is None:
        return "ExecCommandEnd", f"still running as process {result.process}: {command}"
    status = f"exit {result.exit_code}" if result.exit_code is not None else "done"
    return "ExecCommandEnd", f"{status} after {duration(result.duration_seconds)}: {command}"


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
            return "ExecCommandBegin", _command(calls, ToolIntentPayload.model_validate(row.payload).call_id)
        case RowKind.TOOL_RESULT:
            return _result(row, calls)
        case RowKind.SANDBOX_ADDRESS:
            generation = SandboxAddressPayload.model_validate(row.payload).generation
            return "SandboxStarted", f"generation {generation} is running"
        case RowKind.SANDBOX_REPORT:
            return _report(row)
        case RowKind.SESSION_CLOSED:
            reason = SessionClosedPayload.model_validate(row.payload).reason
            cancelled = reason == conditions.REASON_SESSION_CANCELLED
            return "SessionClosed", "the session was cancelled" if cancelled else "the session is completed"
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
