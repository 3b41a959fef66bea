"""Names that more than one part must spell the same way."""

GROUP = "codex-temporal.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "CodexSession"
PLURAL = "codexsessions"

# User-facing annotations; Kopf's own storage has another prefix, or Kopf would take decisions for its own notes.
APPROVAL_PREFIX = f"approval.{GROUP}/"
APPROVED_BY_PREFIX = f"approved-by.{GROUP}/"
KOPF_PREFIX = f"kopf.{GROUP}"
FINALIZER = f"{GROUP}/workflow"

LABEL_SESSION_UID = f"{GROUP}/session-uid"
LABEL_GENERATION = f"{GROUP}/generation"
ANNOTATION_SPEC_HASH = f"{GROUP}/spec-hash"

DEFAULT_TASK_QUEUE = "codex-temporal"
WORKFLOW_TYPE = "CodexWorkflow"
# The default of 10 s is what a worker that dies inside a workflow task would cost.
WORKFLOW_TASK_TIMEOUT_SECONDS = 3

SIGNAL_USER_TURN = "receive_user_turn"
SIGNAL_APPROVAL = "receive_approval"
SIGNAL_INTERRUPT = "receive_interrupt"
SIGNAL_SHUTDOWN = "request_shutdown"
SIGNAL_COMPACTION = "request_compaction"
QUERY_EVENTS = "get_events_since"

ACTIVITY_OPEN_SESSION = "open_session"
ACTIVITY_MODEL_CALL = "model_call"
ACTIVITY_TOOL_EXEC = "tool_exec"
ACTIVITY_STOP_PROCESSES = "stop_processes"
ACTIVITY_JOURNAL_EVENTS = "journal_events"
ACTIVITY_RESOLVE_APPROVALS = "resolve_approvals"


def workflow_id(installation: str, namespace: str, name: str, uid: str) -> str:
    """Return the Temporal workflow id of a session; the installation keeps two clusters on one Temporal apart."""
    return f"codex/{installation}/{namespace}/{name}/{uid}"


def step_label(turn: int, step: int) -> str:
    """Return the prefix that all call ids and claims of a step share, for example ``t1.s2``."""
    return f"t{turn}.s{step}"


def call_id(turn: int, step: int, index: int) -> str:
    """Return our id of a tool call; providers reuse theirs, so ours is made of where the call stands."""
    return f"{step_label(turn, step)}.c{index}"
