"""What the run of a turn tells whoever watches it, and how it asks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from codex_api.approvals import Decision
from codex_api.rows import ToolCallPayload
from codex_journal.rows import Row
from codex_worker.deltas import Delta


@dataclass(frozen=True)
class RunInfo:
    """What is about to run, known before the first row."""

    session: str
    model: str
    directory: str
    sandbox: str
    """The value of ``--sandbox``."""
    approval_policy: str
    resumed: bool


@dataclass(frozen=True)
class Question:
    """A call that waits for a person: a command, a patch, or a question of the model."""

    approval_id: str
    call: ToolCallPayload
    expires: str
    """RFC 3339; empty where it waits for ever."""


@dataclass(frozen=True)
class Outcome:
    """How a turn ended."""

    exit_code: int
    """0 done, 1 failed, 3 limit reached, 4 an approval was denied, aborted or expired, 130 interrupted."""
    reason: str
    """A reason of codex_api.conditions."""
    message: str
    """For a person: what happened, the cure, and how to go on; empty where all went well.

    A turn that completed goes on only with a prompt: whoever shows the message says how.
    """
    last_message: str
    """The model's final message, whole."""
    session: str


class Presenter(Protocol):
    """Fed with the rows of a session in the order of seq; rows of earlier turns may come before."""

    def begin(self, info: RunInfo) -> None: ...

    def show(self, row: Row) -> None: ...

    def stream(self, delta: Delta) -> None: ...

    async def ask(self, question: Question) -> Decision:
        """Return what the person decided; cancelled where it was decided elsewhere or expired."""
        ...

    def end(self, outcome: Outcome) -> None: ...
