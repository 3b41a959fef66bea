"""What stands in the journal: the kinds of rows and the payload of each.

A payload is a JSON object; the models here are its shapes. Items are kept exactly as exchanged with the model.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from codex_api.session import ApprovalPolicy, NetworkMode, OnTimeout, ReasoningEffort


class RowKind(StrEnum):
    """Who writes what: operator (on one machine the client), worker activities, or the journal_events activity."""

    SESSION_OPENED = "session_opened"  # operator
    SESSION_CLOSED = "session_closed"  # operator, or the workflow by journal_events
    MESSAGE = "message"  # operator: an inbox message, not yet part of the conversation
    SANDBOX_ADDRESS = "sandbox_address"  # operator
    ADMISSION = "admission"  # activities: a message entering the conversation
    ITEM = "item"  # activities: an item of the model's reply
    TOOL_CALL = "tool_call"  # activities: a call of that reply as classified
    TOOL_INTENT = "tool_intent"  # activities
    TOOL_RESULT = "tool_result"  # activities, and the end of a turn
    USAGE = "usage"  # activities
    MODEL_RETRY = "model_retry"  # activities
    CONTEXT = "context"  # activities: what the model is told of its surroundings
    COMPACTION = "compaction"  # activities
    TURN_STOPPING = "turn_stopping"  # activities: what the turn started is about to be killed
    SANDBOX_REPORT = "sandbox_report"  # activities: what a worker saw of the sandbox
    EVENT = "event"  # journal_events and resolve_approvals only


# Rows of a turn that may not appear once the turn has ended or the session is closed.
FENCED_KINDS = frozenset(
    {
        RowKind.ADMISSION,
        RowKind.ITEM,
        RowKind.TOOL_CALL,
        RowKind.TOOL_INTENT,
        RowKind.TOOL_RESULT,
        RowKind.CONTEXT,
        RowKind.COMPACTION,
    }
)
# Rows that make up the conversation, in the order (turn, step, position).
CONVERSATION_KINDS = frozenset(
    {RowKind.CONTEXT, RowKind.ADMISSION, RowKind.ITEM, RowKind.TOOL_RESULT, RowKind.COMPACTION}
)

# Positions within a step: what replaces all before it, what entered the conversation before the reply, the reply, the
# outputs of its calls.
POSITION_COMPACTION = -2_000
POSITION_CONTEXT = -1_000
POSITION_ADMISSION = 0
POSITION_ITEM = 10_000
POSITION_OUTPUT = 20_000
# How a line break is shown in what people read on one line.
NEWLINE_SIGN = "⏎"


class Payload(BaseModel):
    """A row's payload: tolerant of fields a newer writer added."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Delivery(StrEnum):
    STEER = "Steer"
    """Reaches the next model call of the running turn; starts a turn when none runs."""
    QUEUE = "Queue"
    """Starts a turn of its own."""


class SandboxMode(StrEnum):
    """Where commands run, as the model is told; the names of the last three are the Codex CLI's."""

    POD = "pod"
    WORKSPACE_WRITE = "workspace-write"
    READ_ONLY = "read-only"
    NONE = "danger-full-access"


class SessionSettings(Payload):
    """Policy, limits and model as the operator journaled them; the workflow believes these and nothing it is sent."""

    provider: str = "default"
    model: str | None = None
    reasoning_effort: ReasoningEffort | None = None
    approval_policy: ApprovalPolicy = ApprovalPolicy.UNTRUSTED
    approval_timeout_seconds: int = 3600
    approval_on_timeout: OnTimeout = OnTimeout.DENY
    max_steps: int = 50
    max_tokens: int = 500_000
    turn_timeout_seconds: int = 3600
    max_cost_millionths: int | None = None
    """Millionths of the price table's currency that the whole session may cost."""
    active_deadline_seconds: int | None = None
    """From the session's creation on; waiting for a person counts. Then the session is closed."""
    output_schema: dict[str, Any] | None = None
    """JSON schema of the final message of every turn."""
    park_when_mendable: bool = True
    """Whether a turn waits until somebody mends a key, a quota or a provider; else it fails and names the cure."""
    preview_bytes: int = 2048
    """Most bytes of a call that a person can be shown; a longer one cannot be approved."""
    sandbox_mode: SandboxMode = SandboxMode.POD
    complete_after_idle_seconds: int | None = None
    network_mode: NetworkMode = NetworkMode.NONE
    isolation_required: bool = True
    """Commands wait until the sandbox reports that it is isolated (network mode None only)."""
    workspace: str = "/workspace"


class MessagePayload(Payload):
    key: str
    """Idempotency key of the message, also what signals carry."""
    text: str
    delivery: Delivery


class SandboxAddressPayload(Payload):
    generation: int
    host: str = ""
    port: int = 0
    unix_path: str = ""
    """Local mode only."""
    workspace_kept: bool = False
    """Whether this generation found the files of the one before."""


class SessionClosedPayload(Payload):
    reason: str
    """SessionCompleted or SessionCancelled, see codex_api.conditions."""


class AdmissionPayload(Payload):
    message: int
    """Seq of the inbox row."""
    item: dict[str, Any]


class ItemPayload(Payload):
    item: dict[str, Any]


class ContextPayload(Payload):
    """Told once, and again only where it changed: the prefix of successive requests stays the same bytes."""

    part: str
    """permissions, environment or documents"""
    state: str
    """What is known to the model of this part after the item; compared with what holds now."""
    item: dict[str, Any]


class CompactionPayload(Payload):
    """Takes the place of everything that stands before it in the conversation; the old rows stay in the journal."""

    reason: str
    """limit, overflow or requested"""
    items: list[dict[str, Any]]


class Classification(StrEnum):
    AUTOMATIC = "automatic"
    ASK = "ask"
    FORBIDDEN = "forbidden"
    UNKNOWN_TOOL = "unknown_tool"
    MALFORMED = "malformed"


class ToolCallPayload(Payload):
    """A call as it was judged when the model's reply was journaled; the executor trusts this and the session row."""

    call_id: str
    provider_call_id: str
    index: int
    tool: str
    classification: Classification
    arguments: dict[str, Any] = {}
    """Validated arguments of the tool; empty where the classification is not automatic or ask."""
    argv: list[str] = []
    """Exactly what will run; empty for tools that run no command."""
    directory: str = ""
    environment: dict[str, str] = {}
    """Laid over the image's own."""
    stdin: str | None = None
    tty: bool = False
    serial: bool = False
    """Runs after all calls before it and before all after it."""
    custom: bool = False
    """A custom_tool_call: answered by a custom_tool_call_output."""
    justification: str = ""
    """Why the model wants it, in its own words, escaped; not part of what is approved."""
    digest: str = ""
    nonce: str = ""
    approval_id: str = ""
    preview: str = ""
    """The whole command up to the session's preview_bytes, escaped for display."""
    truncated: bool = False
    """A truncated preview cannot be approved."""


class TurnStoppingPayload(Payload):
    end: dict[str, Any] | None = None
    """The event that is to end the turn."""


class FileChange(Payload):
    path: str
    """As the patch names it."""
    kind: str
    """add, delete or update"""
    move_path: str | None = None


class ToolIntentPayload(Payload):
    call_id: str
    boot_id: str
    generation: int
    environment_hash: str = ""


class ToolResultPayload(Payload):
    call_id: str
    item: dict[str, Any]
    """The function_call_output or custom_tool_call_output item, exactly as the model will see it."""
    exit_code: int | None = None
    process: int | None = None
    duration_seconds: float = 0.0
    outcome: str = "completed"
    """completed, denied, expired, interrupted, aborted, refused, failed, answered"""
    changes: list[FileChange] = []
    """Of a patch that was applied."""


class UsagePayload(Payload):
    model: str
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    duration_seconds: float = 0.0
    cost_millionths: int | None = None
    """Millionths of the price table's currency; None where it has no price for the model."""
    estimated: bool = False
    """True where the stream died and bytes/4 stand in for what the provider would have said."""
    max_output_tokens: int | None = None
    """Cap of the answer, set by what was left of a budget; None where the request had none."""


class ModelRetryPayload(Payload):
    attempt: int
    reason: str
    """A reason of codex_api.conditions."""
    message: str
    until: str
    """RFC 3339; when the next attempt may start."""


class SandboxReportPayload(Payload):
    generation: int
    ready: bool
    reason: str
    message: str = ""
    isolated: bool | None = None
    """None: not probed yet."""
    reached: list[str] = []
