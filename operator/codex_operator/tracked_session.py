"""What the projector keeps of one session, and the pure decisions on it: what to show and when to write."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from pydantic import ValidationError

from codex_api import conditions
from codex_api.events import SANDBOX_RESET
from codex_api.rows import RowKind
from codex_journal.rows import Row
from codex_operator.cluster_events import Milestone, Subject, milestone, warning
from codex_operator.observations import Notice, Observation, Problem
from codex_operator.session_view import SessionView, fold
from codex_operator.status import StatusDocument, session_status
from codex_operator.status_conditions import ShownSession, Verdict, with_times

log = structlog.get_logger("codex_operator.projector")

WRITE_INTERVAL_SECONDS = 1.0
RETRY_LIMIT_SECONDS = 5.0
MILESTONE_LIMIT = 64
# What a person waits for is shown at once; the rest may wait for the next second.
URGENT_EVENTS = frozenset(
    {"ExecApprovalRequest", "ApprovalDecided", "TurnStarted", "TurnComplete", "TurnAborted", "TurnFailed"}
)
TROUBLED_SANDBOX = frozenset(
    {
        conditions.REASON_SANDBOX_IMAGE,
        conditions.REASON_SANDBOX_REFUSED,
        conditions.REASON_SANDBOX_UNSCHEDULABLE,
        conditions.REASON_SANDBOX_LOST,
    }
)


@dataclass
class TrackedSession:
    subject: Subject
    shown: ShownSession
    published: StatusDocument
    """The status as it stands in the cluster, as far as this process knows."""
    projected_seq: int = 0
    """Milestones up to here were posted, by this process or an earlier one."""
    view: SessionView = field(default_factory=SessionView)
    loaded: bool = False
    """Whether the view holds the journal from its beginning."""
    structured: bool = False
    """Whether the session has an output schema: its messages are for programs."""
    observation: Observation | None = None
    milestones: dict[str, Milestone] = field(default_factory=dict)
    """To be posted, oldest first, by key."""
    newest_row_at: datetime | None = None
    """Commit time of the newest row that is folded in and not yet shown."""
    urgent: bool = True
    last_write: float = -WRITE_INTERVAL_SECONDS
    """Loop time."""
    failures: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    counted_phase: str | None = None
    """The phase under which the metrics count it."""
    observed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set from the first observation on."""
    concerns_the_sandbox: bool = False
    """Whether a row was folded in for which the sandbox has to be reconciled."""
    busy: bool = False
    """Whether a task is at work on it."""

    @property
    def is_new(self) -> bool:
        """Whether nobody has written a status yet: the first one is owed at once, whatever the journal says."""
        return not self.published.get("conditions")

    @property
    def shows_everything(self) -> bool:
        """Whether both the journal and a reconcile were heard; before that a status would forget what it said."""
        return self.loaded and self.observation is not None

    @property
    def is_closed(self) -> bool:
        return self.view.closed is not None

    def observe(self, observation: Observation) -> None:
        """Take what a reconcile saw; a change for the worse is told at once and posted once."""
        before = self.observation
        self.observation = observation
        self.observed.set()
        if before is None or before.problem != observation.problem:
            self.urgent = True
        sandbox = observation.sandbox
        if sandbox.reason in TROUBLED_SANDBOX and (before is None or before.sandbox.reason != sandbox.reason):
            self.tell(warning(Notice(sandbox.reason, sandbox.message)))
        for notice in observation.notices:
            self.tell(warning(notice))

    def tell(self, told: Milestone) -> None:
        self.milestones.setdefault(told.key, told)
        if len(self.milestones) > MILESTONE_LIMIT:
            del self.milestones[next(iter(self.milestones))]

    def add(self, rows: Sequence[Row]) -> None:
        """Fold rows in; a row that nobody understands is logged and passed over, or it would hide all that follow."""
        for row in rows:
            try:
                self.view = fold(self.view, row)
            except ValidationError as error:
                log.error("a journal row has an unknown shape", session=row.session, seq=row.seq, error=str(error))
                self.view = replace(self.view, seq=row.seq)
                continue
            if row.seq > self.projected_seq:
                self._note(row)

    def _note(self, row: Row) -> None:
        self.newest_row_at = row.at
        if row.kind is RowKind.SESSION_CLOSED or row.payload.get("type") in URGENT_EVENTS:
            self.urgent = True
        if row.payload.get("type") == SANDBOX_RESET:
            self.concerns_the_sandbox = True
        shown = self.view.events[-1] if self.view.events and self.view.events[-1].seq == row.seq else None
        told = milestone(shown) if shown else None
        if told is not None:
            self.tell(told)

    def document(self, now: datetime) -> StatusDocument:
        """Return the status that should stand in the cluster now."""
        if not self.shows_everything and not self.is_new:
            problem = self.observation.problem if self.observation else None
            return _with_problem(self.published, problem, now)
        seen = self.observation or Observation()
        return session_status(self.view, seen, self.shown, before=self.published, now=now)


def _with_problem(published: Mapping[str, Any], problem: Problem | None, now: datetime) -> StatusDocument:
    """Change only the Ready condition: as long as the journal was not read, the old status is the best there is."""
    if problem is None:
        return dict(published)
    before = published.get("conditions") or []
    verdict = Verdict(False, problem.reason, problem.message)
    ready = with_times({conditions.READY: verdict}, before, published.get("observedGeneration"), now)[0]
    shown = ready.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**published, "conditions": [shown if c.get("type") == conditions.READY else c for c in before]}


def write_due(tracked: TrackedSession, now: float) -> float:
    """Return the loop time from which the next status may be written."""
    if tracked.failures:
        return tracked.last_write + min(RETRY_LIMIT_SECONDS, 0.25 * tracked.failures**2)
    return now if tracked.urgent or tracked.is_new else tracked.last_write + WRITE_INTERVAL_SECONDS
