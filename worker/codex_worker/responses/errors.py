"""How a model call ends badly, as plain data: the client says what happened, ``posture`` what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from codex_api.rows import UsagePayload


class FailureKind(StrEnum):
    UNUSABLE_KEY = "unusable_key"
    """No key, or one that cannot be sent as a header; nothing was sent."""
    CONNECTION = "connection"
    """No connection, or one that was lost before an answer."""
    TIMEOUT = "timeout"
    """Not a byte for as long as the client waits."""
    REFUSED = "refused"
    """An HTTP status of 400 and above."""
    DROPPED = "dropped"
    """The stream ended before the response did."""
    FAILED = "failed"
    """The response itself says that it failed."""
    INVALID = "invalid"
    """The answer makes no sense."""


@dataclass(frozen=True)
class ModelFailure:
    kind: FailureKind
    message: str
    """What the provider or the connection said; at most 500 characters."""
    status: int | None = None
    code: str | None = None
    """The API's error code, for example context_length_exceeded."""
    api_error: bool = False
    """Whether the body of a refusal was an error of the API, not a page of something in between."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that name a delay, in lower case."""
    usage: UsagePayload | None = None
    """What the call cost; None where the model did not begin. Estimated from bytes/4 unless the provider said it."""


class ModelCallFailed(Exception):
    """A model call without a usable reply; ``failure`` says what happened."""

    def __init__(self, failure: ModelFailure) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")
        self.failure = failure


class InvalidReply(ModelCallFailed):
    """The provider answered with something that is no reply of a model."""


class SenselessEvent(ValueError):
    """An event of a stream that breaks the API's contract."""
