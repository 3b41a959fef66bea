"""What crosses Temporal: keys, numbers, hashes and short previews; never texts of the conversation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from codex_api.approvals import DecisionKind
from codex_api.events import AnyEvent, TurnAborted, TurnFailed
from codex_api.rows import Classification, Delivery, SessionSettings


class TemporalPayload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class MessageSignal(TemporalPayload):
    key: str
    seq: int
    delivery: Delivery


class ApprovalSignal(TemporalPayload):
    """Only wakes the workflow: what was decided is read from the journal."""

    approval_id: str


class CarriedState(TemporalPayload):
    """What a continued run needs besides the journal; at most 32 KB."""

    event_count: int = 0
    shutdown_requested: bool = False
    compaction_requested: bool = False
    waited_for_people_seconds: float = 0.0
    turn_started_at: float = 0.0
    """Workflow time, seconds since the epoch; 0 between turns."""


class SessionInput(TemporalPayload):
    session: str
    carried: CarriedState | None = None


class CallSummary(TemporalPayload):
    """A tool call the workflow has to route."""

    call_id: str
    tool: str
    digest: str = ""
    preview: str = ""
    """At most 80 characters."""
    classification: Classification
    serial: bool = False
    approval_id: str = ""


class OpenSessionInput(TemporalPayload):
    session: str


class OpenSession(TemporalPayload):
    """Where the journal says the session stands."""

    closed: bool
    created_at: float = 0.0
    """Seconds since the epoch; the session's deadline counts from here."""
    known_seq: int
    """Every message up to here is either in ``messages`` or admitted already."""
    turn: int
    """Newest turn; 0 before the first."""
    turn_ended: bool
    turn_ending: TurnAborted | TurnFailed | None = None
    """How that turn was about to end when its processes were to be killed: it is not to go on."""
    step: int
    """Newest step of that turn whose journaled reply needs another one; 0 before the first."""
    follow_up: bool = False
    """Whether the turn goes on with another step; False only in histories of earlier releases."""
    first_message: int = 0
    """Seq of the inbox row that started the newest turn."""
    open_calls: list[CallSummary] = []
    """Calls of that step without a result."""
    request_times: dict[str, float] = {}
    """Approval id → seconds since the epoch at which it was asked for."""
    messages: list[MessageSignal] = []
    """Inbox messages not yet admitted, in order of arrival."""
    settings: SessionSettings


class ModelCallInput(TemporalPayload):
    session: str
    turn: int
    step: int
    allowed_calls: list[str] = []
    """Call ids of the step before, which this activity runs first."""
    compact: bool = False
    """Somebody asked for the conversation to be compacted before the model is asked."""


class ModelCallReply(TemporalPayload):
    follow_up: bool
    calls: list[CallSummary] = []
    admitted_seq: list[int] = []
    """Inbox rows that entered the conversation with this step."""
    last_message_seq: int = 0
    last_message: str = ""
    """First 1,000 characters of the step's final message, only where no follow-up is needed."""


class ToolExecInput(TemporalPayload):
    session: str
    call_id: str


class ToolExecReply(TemporalPayload):
    executed: bool
    """False: no matching approving row (yet); the workflow goes on waiting."""


class StopProcessesInput(TemporalPayload):
    session: str
    turn: int
    end: TurnAborted | TurnFailed | None = None
    """Why they are stopped; journaled first, so that the turn ends so whatever happens meanwhile."""


class StopProcessesReply(TemporalPayload):
    stopped: bool
    """False: the sandbox could not be asked; the next turn starts in a new generation."""


class JournalEventsInput(TemporalPayload):
    session: str
    events: list[AnyEvent]


class JournalEventsReply(TemporalPayload):
    seqs: list[int]
    admitted_seq: list[int] = []
    """Inbox rows that entered the conversation with the end of a turn."""


class ResolveApprovalsInput(TemporalPayload):
    session: str
    turn: int
    approvals: dict[str, str]
    """Approval id → call id of all that are pending."""
    expired: list[str] = []
    request_times: dict[str, float] = {}
    """Approval id → seconds since the epoch at which it was asked for."""


class ResolvedApproval(TemporalPayload):
    approval_id: str
    decision: DecisionKind


class ResolveApprovalsReply(TemporalPayload):
    resolved: list[ResolvedApproval]


class EventsSince(TemporalPayload):
    """Answer of the query get_events_since: indexes count over the whole session, old ones may be gone."""

    first: int
    next: int
    events: list[AnyEvent]
