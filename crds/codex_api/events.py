"""Protocol events: what the workflow decides, journaled by ``journal_events`` and shown to people."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from codex_api.approvals import DecisionKind


class Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    turn: int = 0


class TurnStarted(Event):
    type: Literal["TurnStarted"] = "TurnStarted"
    message: int
    """Seq of the inbox row that starts the turn."""


class ExecApprovalRequest(Event):
    """What is asked for stands in the tool_call row of ``call_id``."""

    type: Literal["ExecApprovalRequest"] = "ExecApprovalRequest"
    approval_id: str
    call_id: str
    request_time: str
    expiration_time: str


class ApprovalDecided(Event):
    type: Literal["ApprovalDecided"] = "ApprovalDecided"
    approval_id: str
    call_id: str
    decision: DecisionKind
    decided_by: str = ""
    reason: str = ""
    waited_seconds: float = 0.0


class TurnComplete(Event):
    type: Literal["TurnComplete"] = "TurnComplete"
    last_agent_message: str = ""
    """Its first 1,000 characters; the whole text is the item with ``message_seq``."""
    message_seq: int = 0


class TurnAborted(Event):
    """The turn was ended before the model was done: by a person, a limit, a timeout, or the session's close."""

    type: Literal["TurnAborted"] = "TurnAborted"
    reason: str
    """A reason of codex_api.conditions."""
    message: str = ""


class TurnFailed(Event):
    """The turn could not go on: a rejected request, an unknown model, a senseless reply, an internal error."""

    type: Literal["TurnFailed"] = "TurnFailed"
    reason: str
    message: str = ""


class TurnDiff(Event):
    """What the turn's patches have changed so far; the newest one of a turn counts. Journaled with a patch's result."""

    type: Literal["TurnDiff"] = "TurnDiff"
    unified_diff: str
    truncated: bool = False


class CompactionSkipped(Event):
    """What is left of the limits is too little for a summary and the model call after it; the turn goes on without."""

    type: Literal["CompactionSkipped"] = "CompactionSkipped"
    reason: str
    """What the compaction was wanted for: limit or requested."""
    message: str


SANDBOX_RESET: Final = "SandboxReset"


class SandboxReset(Event):
    """Processes could not be stopped in time; the next turn starts in a new generation of the sandbox."""

    type: Literal["SandboxReset"] = SANDBOX_RESET
    message: str = ""


class SessionCompleted(Event):
    """The workflow closed the session by itself: asked to shut down, idle for long enough, or out of time."""

    type: Literal["SessionCompleted"] = "SessionCompleted"
    reason: str
    unless_messages_wait: bool = False
    """Set where the session was idle: a message that just arrived keeps it open."""


AnyEvent = Annotated[
    TurnStarted
    | ExecApprovalRequest
    | ApprovalDecided
    | TurnComplete
    | TurnAborted
    | TurnFailed
    | TurnDiff
    | CompactionSkipped
    | SandboxReset
    | SessionCompleted,
    Field(discriminator="type"),
]
TurnEnd = TurnComplete | TurnAborted | TurnFailed

event_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
