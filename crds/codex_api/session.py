"""The CodexSession resource as models; ``codexsessions.yaml`` beside this package says the same to the API server."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A part of the resource: camelCase in YAML, immutable in Python, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class ReasoningEffort(StrEnum):
    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class ApprovalPolicy(StrEnum):
    UNTRUSTED = "Untrusted"
    ON_REQUEST = "OnRequest"
    NEVER = "Never"


class OnTimeout(StrEnum):
    DENY = "Deny"
    ABORT = "Abort"


class NetworkMode(StrEnum):
    NONE = "None"
    INTERNET = "Internet"


class OperatingMode(StrEnum):
    RUNNING = "Running"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"


class Phase(StrEnum):
    """Derived from the conditions, for people and field selectors; programs read conditions."""

    PENDING = "Pending"
    RUNNING = "Running"
    AWAITING_APPROVAL = "AwaitingApproval"
    IDLE = "Idle"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class ProviderRef(ApiModel):
    name: str = Field(default="default", min_length=1, max_length=63)


class Model(ApiModel):
    provider_ref: ProviderRef = ProviderRef()
    name: str | None = Field(default=None, min_length=1, max_length=128)
    """None: the provider's default model."""
    reasoning_effort: ReasoningEffort | None = None


class Approval(ApiModel):
    policy: ApprovalPolicy = ApprovalPolicy.UNTRUSTED
    timeout_seconds: int = Field(default=3600, ge=1, le=2_592_000)
    on_timeout: OnTimeout = OnTimeout.DENY


class Network(ApiModel):
    mode: NetworkMode = NetworkMode.NONE


class ResourceAmounts(ApiModel):
    """Kubernetes quantities; people also write them as plain integers."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    cpu: str | None = None
    memory: str | None = None
    ephemeral_storage: str | None = Field(default=None, alias="ephemeral-storage")


class Resources(ApiModel):
    requests: ResourceAmounts | None = None
    limits: ResourceAmounts | None = None


class Sandbox(ApiModel):
    image: str | None = Field(default=None, min_length=1, max_length=512)
    """None: the chart's image."""
    network: Network = Network()
    resources: Resources | None = None
    runtime_class_name: str | None = Field(default=None, min_length=1, max_length=253)


class Limits(ApiModel):
    max_steps: int = Field(default=50, ge=1, le=10_000)
    """Model calls per turn."""
    max_tokens: int = Field(default=500_000, ge=1, le=1_000_000_000)
    """Uncached input and output tokens per session."""
    turn_timeout_seconds: int = Field(default=3600, ge=1, le=604_800)
    """Waiting for a person does not count."""
    max_cost: str | None = Field(default=None, max_length=16, pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$")
    """Decimal number in the currency of the provider's price table, for the whole session; the API server refuses 0."""
    active_deadline_seconds: int | None = Field(default=None, ge=1, le=31_536_000)
    """From the session's creation on, waiting included; then it is closed."""


class Lifecycle(ApiModel):
    complete_after_idle_seconds: int | None = Field(default=None, ge=0, le=31_536_000)


class SessionSpec(ApiModel):
    prompt: str = Field(min_length=1, max_length=65_536)
    model: Model = Model()
    approval: Approval = Approval()
    sandbox: Sandbox = Sandbox()
    limits: Limits = Limits()
    lifecycle: Lifecycle = Lifecycle()
    output_schema: dict[str, Any] | None = None
    """JSON schema of every turn's final message, in the provider's strict mode."""
    operating_mode: OperatingMode = OperatingMode.RUNNING


class Condition(ApiModel):
    type: str
    status: str
    """True, False or Unknown."""
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int | None = None


class WorkflowStatus(ApiModel):
    id: str
    run_id: str | None = None


class TurnStatus(ApiModel):
    number: int


class PendingApproval(ApiModel):
    id: str
    kind: str
    """Exec, WriteStdin, Patch or Question."""
    command: str
    """The whole command up to 2 KiB, line breaks as ⏎, control and bidirectional characters as ⟨U+202E⟩."""
    directory: str
    justification: str | None = None
    """Why the model wants it, in its own words."""
    digest: str
    truncated: bool
    request_time: str
    expiration_time: str


class Usage(ApiModel):
    model_calls: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cost: str | None = None
    """Decimal number in the currency of the provider's price table; None without prices."""


class EventStatus(ApiModel):
    seq: int
    time: str
    type: str
    summary: str


class SandboxStatus(ApiModel):
    pod_name: str | None = None
    generation: int | None = None


class SessionStatus(ApiModel):
    observed_generation: int | None = None
    phase: Phase = Phase.PENDING
    conditions: list[Condition] = []
    workflow: WorkflowStatus | None = None
    sandbox: SandboxStatus | None = None
    turn: TurnStatus | None = None
    pending_approvals: list[PendingApproval] = []
    usage: Usage = Usage()
    last_message: str | None = None
    last_message_truncated: bool | None = None
    """Whether the agent said more than last_message holds; None without a message."""
    events: list[EventStatus] = []
    last_event_seq: int = 0
