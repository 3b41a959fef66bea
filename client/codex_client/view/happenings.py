"""What happened in a session, as people think of it. Rows of the journal are folded to these in ``progress``."""

from __future__ import annotations

from dataclasses import dataclass

from codex_api.events import ApprovalDecided, ExecApprovalRequest, TurnEnd
from codex_api.rows import FileChange, ModelRetryPayload, ToolCallPayload, ToolResultPayload, UsagePayload


@dataclass(frozen=True)
class TurnBegan:
    turn: int
    prompt: str
    """Empty where the row of the message was not fed."""


@dataclass(frozen=True)
class UserSaid:
    """A message that reached the running turn."""

    text: str


@dataclass(frozen=True)
class AgentSaid:
    text: str


@dataclass(frozen=True)
class AgentReasoned:
    text: str


@dataclass(frozen=True)
class CallBegan:
    call: ToolCallPayload


@dataclass(frozen=True)
class CallEnded:
    call: ToolCallPayload
    result: ToolResultPayload
    output: str
    """What the command or the patch printed, without the lines told about it."""
    began: bool
    """Whether it was seen to begin: a refused call never was."""
    decided: bool = False
    """Whether somebody was asked, so that the decision has told already why it did not begin."""
    of_process: str = ""
    """Call id of the command that a write_stdin belongs to."""


@dataclass(frozen=True)
class ProcessLeftRunning:
    """The turn ended before the command did."""

    call: ToolCallPayload
    process: int


@dataclass(frozen=True)
class ApprovalAsked:
    request: ExecApprovalRequest
    call: ToolCallPayload | None


@dataclass(frozen=True)
class ApprovalAnswered:
    decided: ApprovalDecided
    call: ToolCallPayload | None


@dataclass(frozen=True)
class PlanStep:
    text: str
    status: str
    """pending, in_progress or completed"""


@dataclass(frozen=True)
class PlanChanged:
    steps: tuple[PlanStep, ...]
    explanation: str


@dataclass(frozen=True)
class PatchChanged:
    """Files of one patch, with the patch as the model wrote it."""

    changes: tuple[FileChange, ...]
    patch: str


@dataclass(frozen=True)
class DiffGrew:
    """All that the turn's patches changed so far."""

    unified_diff: str
    truncated: bool


@dataclass(frozen=True)
class RequestCharged:
    usage: UsagePayload


@dataclass(frozen=True)
class RequestRetried:
    retry: ModelRetryPayload


@dataclass(frozen=True)
class ConversationCompacted:
    reason: str


@dataclass(frozen=True)
class CompactionLeftOut:
    """The limits do not allow it; the turn goes on as it is."""

    message: str


@dataclass(frozen=True)
class SandboxSaid:
    """Something about the sandbox that a person should know."""

    reason: str
    message: str


@dataclass(frozen=True)
class TurnEnded:
    end: TurnEnd
    refusal: ApprovalAnswered | None = None
    """The newest decision of the turn to abort or by its time being over: it may have ended the turn."""


@dataclass(frozen=True)
class SessionEnded:
    reason: str


Happening = (
    TurnBegan
    | UserSaid
    | AgentSaid
    | AgentReasoned
    | CallBegan
    | CallEnded
    | ProcessLeftRunning
    | ApprovalAsked
    | ApprovalAnswered
    | PlanChanged
    | PatchChanged
    | DiffGrew
    | RequestCharged
    | RequestRetried
    | ConversationCompacted
    | CompactionLeftOut
    | SandboxSaid
    | TurnEnded
    | SessionEnded
)
