"""Named endings and refusals of the worker."""

from __future__ import annotations

from codex_api.events import TurnEnd

# Types of the ApplicationErrors by which an activity tells the workflow how a turn ends.
TURN_FAILED = "TurnFailed"
TURN_ABORTED = "TurnAborted"
SESSION_CLOSED = "SessionClosed"
TURN_STOPPING = "TurnStopping"
SANDBOX_NOT_READY = "SandboxNotReady"
MODEL_RETRY = "ModelRetry"
WRONG_STEP = "WrongStep"


class TurnEnding(Exception):
    """The turn ends now, with this event."""

    def __init__(self, event: TurnEnd) -> None:
        super().__init__(event.type)
        self.event = event


class UnknownProvider(Exception):
    """The session names a model provider that the platform has not configured for its namespace."""


class MissingProviderKey(Exception):
    """The provider's Secret is absent or empty."""
