"""Failed model calls as people see them: one line per reason of a step, however often it was tried. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from codex_api.rows import ModelRetryPayload
from codex_api.session import EventStatus
from codex_journal.rows import Row
from codex_operator.display import one_line
from codex_operator.row_events import SUMMARY_BYTES, event_status

RETRY_EVENT = "ModelRetry"


@dataclass(frozen=True)
class RetryNote:
    """All failures of one step's model call for one reason."""

    turn: int
    step: int
    reason: str
    message: str
    """Of the newest failure."""
    times: int
    next_at: str
    """RFC 3339; empty where no further attempt is waited for."""
    seq: int
    """Of the newest failure's row, and of the event that tells of all."""
    claim: str
    """Under which the newest failure was journaled, with what it cost."""

    @property
    def outlook(self) -> str:
        tried = "tried once" if self.times == 1 else f"tried {self.times} times"
        return f"{tried}, next at {self.next_at}" if self.next_at else tried

    @property
    def summary(self) -> str:
        return one_line(f"{self.reason}, {self.outlook}: {self.message}", SUMMARY_BYTES)


Retries = Mapping[str, RetryNote]
Events = tuple[EventStatus, ...]


def _next_at(until: str, failed_at: datetime) -> str:
    """Return when it is tried again; empty for a final failure and where it is tried again within the second."""
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        return until
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return until if moment > failed_at else ""


def add_retry(retries: Retries, row: Row) -> tuple[RetryNote, Retries]:
    """Add a model_retry row to the notes by reason; those of earlier steps are dropped."""
    payload = ModelRetryPayload.model_validate(row.payload)
    same_step = {reason: n for reason, n in retries.items() if (n.turn, n.step) == (row.turn, row.step)}
    before = same_step.get(payload.reason)
    note = RetryNote(
        turn=row.turn,
        step=row.step,
        reason=payload.reason,
        message=payload.message,
        times=before.times + 1 if before else 1,
        next_at=_next_at(payload.until, row.at),
        seq=row.seq,
        claim=row.claim,
    )
    return note, {**same_step, note.reason: note}


def show_retry(events: Events, before: RetryNote | None, note: RetryNote, row: Row) -> Events:
    """Put the newest failure in the place of the event that told of those before."""
    others = (event for event in events if before is None or event.seq != before.seq)
    return (*others, event_status(row, RETRY_EVENT, note.summary))


def give_up(events: Events, note: RetryNote) -> Events:
    """Take the promise of a next attempt out of the event: the turn has ended."""
    summary = replace(note, next_at="").summary
    return tuple(e.model_copy(update={"summary": summary}) if e.seq == note.seq else e for e in events)
