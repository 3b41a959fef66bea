"""Activities between the workflow and the journal: small, quick, run as local activities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from temporalio import activity
from temporalio.exceptions import ApplicationError

from codex_api import names
from codex_api.approvals import Decision, DecisionKind
from codex_api.events import (
    ApprovalDecided,
    SessionCompleted,
    TurnAborted,
    TurnComplete,
    TurnEnd,
    TurnFailed,
)
from codex_api.rows import RowKind, SandboxMode, SessionClosedPayload, SessionSettings
from codex_api.workflow_payloads import (
    JournalEventsInput,
    JournalEventsReply,
    MessageSignal,
    OpenSession,
    OpenSessionInput,
    ResolveApprovalsInput,
    ResolveApprovalsReply,
    ResolvedApproval,
)
from codex_journal.errors import NotPermitted, SessionClosed, TurnEnded, UnknownSession
from codex_journal.journal import Journal
from codex_journal.rows import Appended, NewRow, SessionRecord
from codex_worker import errors
from codex_worker.context import context_changes
from codex_worker.event_rules import RefusedEvent, check_events, claim_of
from codex_worker.metrics import WorkerMetrics
from codex_worker.reply import OPEN_CLASSIFICATIONS, summarize_call
from codex_worker.transcript import Transcript, Transcripts
from codex_worker.turn_end import turn_end_rows


@contextmanager
def journal_errors() -> Iterator[None]:
    """Turn refusals of the journal into final errors; an unavailable journal stays retryable."""
    try:
        yield
    except (SessionClosed, TurnEnded) as error:
        raise ApplicationError(str(error), type=errors.SESSION_CLOSED, non_retryable=True) from error
    except (UnknownSession, NotPermitted, RefusedEvent) as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error


async def session_record(journal: Journal, session: str) -> SessionRecord:
    """Return the session's row; raises UnknownSession."""
    record = await journal.session(session)
    if record is None:
        raise UnknownSession(f"no session {session} in the journal")
    return record


def wall_clock(settings: SessionSettings) -> datetime:
    """Return the time as the session's commands see it: a pod has no time zone of its own."""
    now = datetime.now(UTC)
    return now if settings.sandbox_mode is SandboxMode.POD else now.astimezone()


class SessionActivities:
    """Reads where a session stands, and journals what the workflow decided."""

    def __init__(self, journal: Journal, transcripts: Transcripts, metrics: WorkerMetrics) -> None:
        self._journal = journal
        self._transcripts = transcripts
        self._metrics = metrics

    @activity.defn(name=names.ACTIVITY_OPEN_SESSION)
    async def open_session(self, request: OpenSessionInput) -> OpenSession:
        with journal_errors():
            record = await session_record(self._journal, request.session)
            self._transcripts.remember(record)
            transcript = await self._transcripts.load(request.session)
            return _opened(record, transcript)

    @activity.defn(name=names.ACTIVITY_JOURNAL_EVENTS)
    async def journal_events(self, request: JournalEventsInput) -> JournalEventsReply:
        with journal_errors():
            first = request.events[0] if request.events else None
            if isinstance(first, SessionCompleted):
                appended = await self._complete_session(request.session, first)
            else:
                transcript = await self._transcripts.load(request.session)
                claim = claim_of(request.events)
                check_events(request.events, transcript)
                if isinstance(first, TurnComplete | TurnAborted | TurnFailed):
                    appended = await self._end_turn(request.session, transcript, first)
                else:
                    rows = [
                        NewRow(RowKind.EVENT, event.model_dump(mode="json"), event.turn) for event in request.events
                    ]
                    appended = await self._journal.append(request.session, claim, rows)
                self._transcripts.add(appended)
            return JournalEventsReply(
                seqs=[row.seq for row in appended.rows],
                admitted_seq=[row.payload["message"] for row in appended.rows if row.kind is RowKind.ADMISSION],
            )

    async def _end_turn(self, session: str, transcript: Transcript, end: TurnEnd) -> Appended:
        waiting = transcript.waiting_messages()
        first = {seq: message for seq, message in waiting.items() if seq == transcript.first_message.get(end.turn)}
        settings = (await self._transcripts.record(session)).settings
        context = context_changes(settings, wall_clock(settings), None, transcript.told, transcript.context)
        appended = await self._journal.end_turn(
            session, end.turn, lambda ending: turn_end_rows(ending, end, first, context)
        )
        if appended.inserted:
            self._metrics.turns.labels(end="Complete" if isinstance(end, TurnComplete) else end.reason).inc()
        return appended

    async def _complete_session(self, session: str, event: SessionCompleted) -> Appended:
        payload = SessionClosedPayload(reason=event.reason)
        return await self._journal.close_session(session, payload, unless_messages_wait=event.unless_messages_wait)

    @activity.defn(name=names.ACTIVITY_RESOLVE_APPROVALS)
    async def resolve_approvals(self, request: ResolveApprovalsInput) -> ResolveApprovalsReply:
        with journal_errors():
            for approval in request.expired:
                await self._journal.decide(request.session, Decision(approval, DecisionKind.EXPIRE))
            decided = await self._journal.decisions(request.session, request.approvals.keys())
            for decision, at in decided.values():
                await self._journal_decision(request, decision, at)
            return ResolveApprovalsReply(
                resolved=[
                    ResolvedApproval(approval_id=approval, decision=decision.kind)
                    for approval, (decision, _) in sorted(decided.items())
                ]
            )

    async def _journal_decision(self, request: ResolveApprovalsInput, decision: Decision, at: datetime) -> None:
        approval = decision.approval_id
        waited = max(0.0, at.timestamp() - request.request_times.get(approval, at.timestamp()))
        event = ApprovalDecided(
            turn=request.turn,
            approval_id=approval,
            call_id=request.approvals[approval],
            decision=decision.kind,
            decided_by=decision.decided_by,
            reason=decision.reason,
            waited_seconds=round(waited, 3),
        )
        row = NewRow(RowKind.EVENT, event.model_dump(mode="json"), request.turn)
        appended = await self._journal.append(request.session, f"approval/{approval}/decided", [row])
        if appended.inserted:
            self._metrics.approval_wait.labels(decision=decision.kind.value).observe(waited)


def _opened(record: SessionRecord, transcript: Transcript) -> OpenSession:
    turn = transcript.turn
    step = transcript.last_step.get(turn, 0)
    if step and not transcript.calls_of(turn, step):
        # A reply that ends the turn is judged in one place: its model call, which finds it in the journal.
        step -= 1
    return OpenSession(
        closed=record.closed,
        created_at=record.created_at.timestamp(),
        known_seq=transcript.seq,
        turn=turn,
        turn_ended=transcript.ended_turn >= turn,
        turn_ending=transcript.ending if transcript.stopping_turn >= turn > 0 else None,
        step=step,
        follow_up=True,
        first_message=transcript.first_message.get(turn, 0),
        open_calls=[
            summarize_call(call)
            for call in transcript.open_calls(turn, step)
            if call.classification in OPEN_CLASSIFICATIONS
        ],
        request_times=transcript.request_times_of(turn, step),
        messages=[
            MessageSignal(key=message.key, seq=seq, delivery=message.delivery)
            for seq, message in transcript.waiting_messages().items()
            if transcript.ended_turn >= turn or seq != transcript.first_message.get(turn)
        ],
        settings=record.settings,
    )
