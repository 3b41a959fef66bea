"""Condition types and reasons of a CodexSession: they are API, so each is named once, here."""

READY = "Ready"
SANDBOX_READY = "SandboxReady"
NETWORK_ISOLATED = "NetworkIsolated"
AWAITING_APPROVAL = "AwaitingApproval"
IDLE = "Idle"
COMPLETED = "Completed"

ALL_TYPES = (READY, SANDBOX_READY, NETWORK_ISOLATED, AWAITING_APPROVAL, IDLE, COMPLETED)

# Reasons while things go as they should.
REASON_PENDING = "Pending"
REASON_RUNNING = "Running"
REASON_WAITING_FOR_DECISION = "WaitingForDecision"
REASON_NOTHING_PENDING = "NothingPending"
REASON_TURN_COMPLETE = "TurnComplete"
REASON_TURN_RUNNING = "TurnRunning"
REASON_SESSION_OPEN = "SessionOpen"
REASON_SESSION_COMPLETED = "SessionCompleted"
REASON_SESSION_CANCELLED = "SessionCancelled"

# Reasons of a turn's end other than TurnComplete (condition Idle, and the event's reason).
REASON_INTERRUPTED = "Interrupted"
REASON_APPROVAL_ABORTED = "ApprovalAborted"
REASON_STEP_LIMIT = "StepLimitReached"
REASON_TOKEN_LIMIT = "TokenLimitReached"  # noqa: S105 - a condition reason, not a secret
REASON_TURN_TIMEOUT = "TurnTimedOut"
REASON_COST_LIMIT = "CostLimitReached"
REASON_DEADLINE_EXCEEDED = "DeadlineExceeded"
REASON_PRICE_UNKNOWN = "ModelPriceUnknown"
REASON_SESSION_CLOSED = "SessionClosed"
REASON_MODEL_REQUEST_REJECTED = "ModelRequestRejected"
REASON_MODEL_UNKNOWN = "ModelUnknown"
REASON_MODEL_RESPONSE_INVALID = "ModelResponseInvalid"
REASON_MODEL_RESPONSE_INCOMPLETE = "ModelResponseIncomplete"
REASON_OUTPUT_INVALID = "ModelOutputInvalid"
REASON_CONTEXT_WINDOW_EXCEEDED = "ContextWindowExceeded"
REASON_INTERNAL_ERROR = "InternalError"

# Reasons for which a turn waits and goes on by itself once mended (condition Ready False).
REASON_PROVIDER_UNKNOWN = "ProviderUnknown"
REASON_PROVIDER_SECRET_MISSING = "ProviderSecretMissing"  # noqa: S105 - a condition reason, not a secret
REASON_PROVIDER_UNAUTHORIZED = "ProviderUnauthorized"
REASON_PROVIDER_QUOTA_EXHAUSTED = "ProviderQuotaExhausted"
REASON_MODEL_RATE_LIMITED = "ModelRateLimited"
REASON_MODEL_UNAVAILABLE = "ModelUnavailable"
REASON_WORKFLOW_NOT_STARTED = "WorkflowNotStarted"
REASON_WORKFLOW_TASK_FAILING = "WorkflowTaskFailing"
REASON_JOURNAL_UNAVAILABLE = "JournalUnavailable"

# Reasons of SandboxReady.
REASON_SANDBOX_STARTING = "SandboxStarting"
REASON_SANDBOX_RUNNING = "SandboxRunning"
REASON_SANDBOX_LOST = "SandboxLost"
REASON_SANDBOX_UNREACHABLE = "SandboxUnreachable"
REASON_SANDBOX_IMAGE = "SandboxImageUnusable"
REASON_SANDBOX_UNSCHEDULABLE = "SandboxUnschedulable"
REASON_SANDBOX_REFUSED = "SandboxRefusedByCluster"
REASON_SANDBOX_REMOVED = "SandboxRemoved"

# Reasons of NetworkIsolated.
REASON_ISOLATED = "Isolated"
REASON_NOT_PROBED = "NotProbed"
REASON_REACHED = "ProbeConnected"
REASON_NETWORK_NOT_RESTRICTED = "NetworkNotRestricted"
