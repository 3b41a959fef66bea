"""What a program may ask of a session."""

from __future__ import annotations

from dataclasses import dataclass

from codex_api.approvals import DecisionKind


class JournalRequired(Exception):
    """The operation is written to the session's journal, which this process was not given."""


@dataclass(frozen=True)
class UserTurn:
    text: str
    queued: bool = False
    """False: reaches the next model call of a running turn, or starts one. True: always starts a turn of its own."""


@dataclass(frozen=True)
class ExecApproval:
    """Decide what an ExecApprovalRequest asks for."""

    id: str
    """approval_id of the request."""
    decision: DecisionKind
    """APPROVE, DENY or ABORT, which ends the turn."""
    reason: str = ""
    """Why it was denied; the model reads it."""


@dataclass(frozen=True)
class UserInputAnswer:
    """Answer a question of the model; several answers are separated by ``;``."""

    id: str
    """approval_id of the request."""
    text: str


@dataclass(frozen=True)
class Interrupt:
    """End the running turn and kill its processes."""


@dataclass(frozen=True)
class Compact:
    """Have the conversation summarised before the next model call."""


@dataclass(frozen=True)
class Shutdown:
    """Close the session for good after the running turn."""


Operation = UserTurn | ExecApproval | UserInputAnswer | Interrupt | Compact | Shutdown
