"""Which events may be journaled, and under which claim: whoever reaches Temporal can ask for any. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from codex_api.events import (
    AnyEvent,
    ApprovalDecided,
    CompactionSkipped,
    ExecApprovalRequest,
    SandboxReset,
    TurnAborted,
    TurnComplete,
    TurnDiff,
    TurnFailed,
    TurnStarted,
)
from codex_api.rows import Classification
from codex_worker.transcript import Transcript


class RefusedEvent(Exception):
    """The event contradicts what stands in the journal, or is not the workflow's to journal."""


def claim_of(events: Sequence[AnyEvent]) -> str:
    """Return the claim of a batch, made of what it tells; raises RefusedEvent for what nobody may send here."""
    first = events[0] if events else None
    match first:
        case TurnStarted():
            return f"t{first.turn}/started"
        case ExecApprovalRequest() if all(isinstance(event, ExecApprovalRequest) for event in events):
            return f"approval/{first.approval_id}/requested"
        case SandboxReset():
            return f"t{first.turn}/reset"
        case TurnComplete() | TurnAborted() | TurnFailed():
            return f"t{first.turn}/end"
    raise RefusedEvent(f"{type(first).__name__} is not the workflow's to journal")


def check_events(events: Sequence[AnyEvent], transcript: Transcript) -> None:
    """Raise RefusedEvent where an event contradicts the journal; a repeat of what stands there is fine."""
    for event in events:
        if not _agrees(event, transcript):
            raise RefusedEvent(f"{event.type} of turn {event.turn} contradicts the journal")


def _agrees(event: AnyEvent, transcript: Transcript) -> bool:
    match event:
        case TurnStarted():
            repeated = transcript.first_message.get(event.turn) == event.message
            follows = event.turn == transcript.turn + 1 and transcript.ended_turn >= transcript.turn
            return repeated or (follows and event.message in transcript.waiting_messages())
        case ExecApprovalRequest():
            call = transcript.calls.get(event.call_id)
            asked = call is not None and call.classification is Classification.ASK
            return asked and call is not None and call.approval_id == event.approval_id
        case SandboxReset() | TurnComplete() | TurnAborted() | TurnFailed():
            return 0 < event.turn <= transcript.turn
        case ApprovalDecided() | TurnDiff() | CompactionSkipped():
            return False
    return True
