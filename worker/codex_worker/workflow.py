"""CodexWorkflow: a session as one workflow. It decides; the journal remembers; activities act."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from codex_api import names
from codex_api.conditions import (
    REASON_DEADLINE_EXCEEDED,
    REASON_INTERNAL_ERROR,
    REASON_INTERRUPTED,
    REASON_SESSION_CLOSED,
    REASON_SESSION_COMPLETED,
    REASON_TURN_TIMEOUT,
)
from codex_api.events import (
    AnyEvent,
    SandboxReset,
    SessionCompleted,
    TurnAborted,
    TurnComplete,
    TurnEnd,
    TurnFailed,
    TurnStarted,
)
from codex_api.workflow_payloads import (
    ApprovalSignal,
    CarriedState,
    EventsSince,
    MessageSignal,
    OpenSession,
    SessionInput,
)
from codex_worker import calls
from codex_worker.entropy import TemporalClock
from codex_worker.event_ring import EventRing
from codex_worker.mailbox import Mailbox
from codex_worker.turn import Turn
from codex_worker.turn_clock import TurnClock

UNSIGNALLED_MESSAGES = "unsignalled-messages"
INTERRUPT_OF_AN_ENDING_TURN = "interrupt-of-an-ending-turn"


@workflow.defn(name=names.WORKFLOW_TYPE)
class CodexWorkflow:
    """Runs a session's turns until it is closed; holds keys and hashes only."""

    @workflow.init
    def __init__(self, start: SessionInput) -> None:
        carried = start.carried or CarriedState()
        self._session = start.session
        self._carried = carried
        self._mailbox = Mailbox()
        self._mailbox.compaction_requested = carried.compaction_requested
        self._ring = EventRing(first=carried.event_count)
        self._clock = TemporalClock()
        self._turn: Turn | None = None
        self._opened = False
        self._interrupted = False
        self._shutdown = carried.shutdown_requested
        self._out_of_time = False
        self._deadline: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, start: SessionInput) -> None:
        opened = await calls.open_session(self._session)
        self._settings = opened.settings
        self._mailbox.open(opened.known_seq, opened.messages)
        self._turn_number = opened.turn
        turn = None if opened.turn_ended else self._resumed(opened)
        self._opened = True
        self._interrupted = self._interrupted and turn is not None
        if opened.closed:
            if turn is not None:
                await self._end_turn(turn, TurnAborted(turn=turn.number, reason=REASON_SESSION_CLOSED))
            return
        if turn is not None and opened.turn_ending is not None:
            await self._stop(turn, opened.turn_ending)
            await self._end_turn(turn, opened.turn_ending)
            turn = None
            if self._interrupted and workflow.patched(INTERRUPT_OF_AN_ENDING_TURN):
                # It was meant for the turn that is over now, not for the next one.
                self._interrupted = False
        self._watch_deadline(opened.created_at)
        while True:
            turn = turn or await self._next_turn()
            if turn is None:
                return
            if not await self._run_turn(turn):
                self._continue_as_new(turn)
            turn = None

    @workflow.signal(name=names.SIGNAL_USER_TURN)
    def receive_user_turn(self, message: MessageSignal) -> None:
        self._mailbox.receive(message)

    @workflow.signal(name=names.SIGNAL_APPROVAL)
    def receive_approval(self, approval: ApprovalSignal) -> None:
        if self._turn is not None:
            self._turn.wake()

    @workflow.signal(name=names.SIGNAL_INTERRUPT)
    def receive_interrupt(self) -> None:
        # Before the journal was read nobody knows yet whether a turn runs.
        self._interrupted = self._turn is not None or not self._opened

    @workflow.signal(name=names.SIGNAL_SHUTDOWN)
    def request_shutdown(self) -> None:
        self._shutdown = True

    @workflow.signal(name=names.SIGNAL_COMPACTION)
    def request_compaction(self) -> None:
        self._mailbox.compaction_requested = True

    @workflow.query(name=names.QUERY_EVENTS)
    def get_events_since(self, index: int) -> EventsSince:
        return self._ring.since(index)

    def _watch_deadline(self, created_at: float) -> None:
        """Set the clock that closes the session, waiting or not; nothing is scheduled where there is no deadline."""
        limit = self._settings.active_deadline_seconds
        if limit is None:
            return
        remaining = created_at + limit - self._clock.timestamp()
        self._out_of_time = remaining <= 0
        if not self._out_of_time:
            self._deadline = asyncio.create_task(self._pass_deadline(remaining))

    async def _pass_deadline(self, seconds: float) -> None:
        await workflow.sleep(seconds, summary="the session's deadline")
        self._out_of_time = True

    def _publish(self, events: Sequence[AnyEvent]) -> None:
        self._ring.extend(events)

    def _new_turn(self, number: int, clock: TurnClock) -> Turn:
        return Turn(
            session=self._session,
            number=number,
            settings=self._settings,
            mailbox=self._mailbox,
            clock=clock,
            publish=self._publish,
        )

    def _resumed(self, opened: OpenSession) -> Turn:
        clock = TurnClock(
            limit=self._settings.turn_timeout_seconds,
            started_at=self._carried.turn_started_at or self._clock.timestamp(),
            waited=self._carried.waited_for_people_seconds,
        )
        turn = self._new_turn(opened.turn, clock)
        turn.resume(opened)
        return turn

    async def _next_turn(self) -> Turn | None:
        """Wait for a message and start its turn; None when the session is over."""
        # A session that was told to end before its first turn began still answers its prompt.
        while not self._out_of_time and (not self._shutdown or (self._turn_number == 0 and self._mailbox)):
            message = self._mailbox.next_message()
            if message is not None:
                number = self._turn_number = self._turn_number + 1
                clock = TurnClock(limit=self._settings.turn_timeout_seconds, started_at=self._clock.timestamp())
                started = TurnStarted(turn=number, message=message.seq)
                await calls.journal_events(self._session, [started])
                self._publish([started])
                self._mailbox.admit([message.seq])
                return self._new_turn(number, clock)
            if workflow.info().is_continue_as_new_suggested():
                self._continue_as_new(None)
            if await self._message_before_idle_end():
                continue
            if await self._close(REASON_SESSION_COMPLETED, unless_messages_wait=True):
                return None
            if workflow.patched(UNSIGNALLED_MESSAGES):
                # A message whose signal has not come: the journal has it, and waiting for the signal would spin.
                opened = await calls.open_session(self._session)
                self._mailbox.open(opened.known_seq, opened.messages)
        reason = REASON_DEADLINE_EXCEEDED if self._out_of_time else REASON_SESSION_COMPLETED
        await self._close(reason, unless_messages_wait=False)
        return None

    async def _message_before_idle_end(self) -> bool:
        workflow.set_current_details("idle: waiting for a message")
        idle = self._settings.complete_after_idle_seconds
        try:
            await workflow.wait_condition(
                lambda: bool(self._mailbox) or self._shutdown or self._out_of_time,
                timeout=None if idle is None else timedelta(seconds=idle),
                timeout_summary="session completes when idle",
            )
        except TimeoutError:
            return False
        return True

    async def _close(self, reason: str, *, unless_messages_wait: bool) -> bool:
        """Close the session in the journal, which can be told to refuse under its lock while a message waits."""
        event = SessionCompleted(reason=reason, unless_messages_wait=unless_messages_wait)
        reply = await calls.journal_events(self._session, [event])
        if reply.seqs:
            self._publish([event])
        return bool(reply.seqs)

    async def _run_turn(self, turn: Turn) -> bool:
        """Run a turn to its end, however that comes; False where it goes on in a new run."""
        self._turn = turn
        workflow.set_current_details(f"turn {turn.number}")
        steps = asyncio.create_task(turn.run())
        try:
            cut_short = await self._wait_for(turn, steps)
            if cut_short is None:
                # An interrupt that came while the run was about to go on in a new one must not get lost there.
                end = await steps or self._cut_short(turn)
                if end is None:
                    return False
            else:
                end = cut_short
        except asyncio.CancelledError:
            end = cut_short = TurnAborted(turn=turn.number, reason=REASON_SESSION_CLOSED)
            await self._abandon(steps)
            await self._stop(turn, end)
            await self._end_turn(turn, end)
            raise
        except Exception as error:  # noqa: BLE001 - whatever happens in a turn is its end, never the session's
            workflow.logger.exception("turn failed")
            end = TurnFailed(
                turn=turn.number, reason=REASON_INTERNAL_ERROR, message=f"{type(error).__name__}: {error}"[:500]
            )
        if not isinstance(end, TurnComplete):
            await self._abandon(steps)
            await self._stop(turn, end)
        await self._end_turn(turn, end)
        self._turn, self._interrupted = None, False
        return True

    async def _wait_for(self, turn: Turn, steps: asyncio.Task[TurnEnd | None]) -> TurnAborted | None:
        """Wait until the steps are done (None), the turn is interrupted or its time is over."""
        while not steps.done():
            try:
                await workflow.wait_condition(
                    lambda: steps.done() or self._cut_short(turn) is not None,
                    timeout=turn.clock.remaining(self._clock.timestamp()),
                    timeout_summary="turn times out",
                )
            except TimeoutError:
                # A pause leaves the running timer alone, which saves events: it may fire too early.
                if turn.clock.paused_at is not None:
                    await workflow.wait_condition(
                        lambda: turn.clock.paused_at is None or steps.done() or self._cut_short(turn) is not None
                    )
                if turn.clock.remaining(self._clock.timestamp()) == 0.0 and not steps.done():
                    message = f"the turn took longer than {turn.clock.limit:.0f} s (spec.limits.turnTimeoutSeconds)"
                    return TurnAborted(turn=turn.number, reason=REASON_TURN_TIMEOUT, message=message)
            if (cut_short := self._cut_short(turn)) is not None:
                return cut_short
        return None

    def _cut_short(self, turn: Turn) -> TurnAborted | None:
        """Return why the turn must not go on, whatever its steps do."""
        if self._interrupted:
            return TurnAborted(turn=turn.number, reason=REASON_INTERRUPTED)
        if self._out_of_time:
            message = f"the session's {self._settings.active_deadline_seconds} s are over (limit activeDeadlineSeconds)"
            return TurnAborted(turn=turn.number, reason=REASON_DEADLINE_EXCEEDED, message=message)
        return None

    async def _abandon(self, steps: asyncio.Task[TurnEnd | None]) -> None:
        """Stop waiting for the steps; that kills nothing of what they started."""
        steps.cancel()
        await workflow.wait([steps])

    async def _stop(self, turn: Turn, end: TurnAborted | TurnFailed) -> None:
        """Kill what the turn started; from here on it ends like this, also in another run."""
        try:
            stopped = (await calls.stop_processes(self._session, turn.number, end)).stopped
        except ActivityError:
            stopped = False
        if not stopped:
            reset = SandboxReset(turn=turn.number, message="processes could not be stopped within 30 s")
            await calls.journal_events(self._session, [reset])
            self._publish([reset])

    async def _end_turn(self, turn: Turn, end: TurnEnd) -> None:
        reply = await calls.journal_events(self._session, [end])
        self._mailbox.admit(reply.admitted_seq)
        self._publish([end])

    def _continue_as_new(self, turn: Turn | None) -> None:
        """Start over with a short history; the journal holds all the rest. Never returns."""
        carried = CarriedState(
            event_count=self._ring.next,
            shutdown_requested=self._shutdown,
            compaction_requested=self._mailbox.compaction_requested,
            waited_for_people_seconds=turn.clock.waited if turn else 0.0,
            turn_started_at=turn.clock.started_at if turn else 0.0,
        )
        workflow.continue_as_new(SessionInput(session=self._session, carried=carried))
