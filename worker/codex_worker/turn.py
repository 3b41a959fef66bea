"""A turn inside the workflow: steps until the model is done, and every way a turn may end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from codex_api.conditions import REASON_INTERNAL_ERROR, REASON_INTERRUPTED, REASON_SESSION_CLOSED, REASON_STEP_LIMIT
from codex_api.events import AnyEvent, TurnAborted, TurnComplete, TurnEnd, TurnFailed
from codex_api.rows import Classification, SessionSettings
from codex_api.workflow_payloads import CallSummary, ModelCallInput, ModelCallReply, OpenSession
from codex_worker import calls
from codex_worker.approval_round import ApprovalRound
from codex_worker.errors import SESSION_CLOSED, TURN_ABORTED, TURN_FAILED, TURN_STOPPING, TurnEnding
from codex_worker.mailbox import Mailbox
from codex_worker.turn_clock import TurnClock


class Turn:
    """One turn: ``run`` returns its end, or None where the workflow should continue as new between two steps."""

    def __init__(
        self,
        *,
        session: str,
        number: int,
        settings: SessionSettings,
        mailbox: Mailbox,
        clock: TurnClock,
        publish: Callable[[Sequence[AnyEvent]], None],
    ) -> None:
        self.number = number
        self.clock = clock
        self._session = session
        self._settings = settings
        self._mailbox = mailbox
        self._publish = publish
        self._round: ApprovalRound | None = None
        self._step = 0
        self._resume_calls: list[CallSummary] = []
        self._requested_at: dict[str, float] = {}
        self._follow_up = True
        self._last: tuple[str, int] = ("", 0)

    def resume(self, opened: OpenSession) -> None:
        """Go on where the journal says an earlier run stopped."""
        self._step = opened.step
        self._follow_up = opened.follow_up or opened.step == 0
        self._resume_calls = opened.open_calls
        self._requested_at = dict(opened.request_times)

    def wake(self) -> None:
        """Note that a decision may have been journaled."""
        if self._round is not None:
            self._round.wake()

    async def run(self) -> TurnEnd | None:
        try:
            return await self._steps()
        except TurnEnding as ending:
            return ending.event
        except ActivityError as failure:
            return self._end_of_failure(failure)

    async def _steps(self) -> TurnEnd | None:
        allowed = await self._route(self._resume_calls)
        while self._follow_up or self._mailbox.has_steering():
            if self._step >= self._settings.max_steps:
                raise TurnEnding(
                    TurnAborted(
                        turn=self.number,
                        reason=REASON_STEP_LIMIT,
                        message=f"the turn used its {self._settings.max_steps} model calls (spec.limits.maxSteps)",
                    )
                )
            self._step += 1
            reply = await self._model_call(allowed)
            self._mailbox.admit(reply.admitted_seq)
            self._follow_up = reply.follow_up
            self._last = (reply.last_message, reply.last_message_seq)
            if workflow.info().is_continue_as_new_suggested() and reply.follow_up:
                return None
            allowed = await self._route(reply.calls)
        message, seq = self._last
        return TurnComplete(turn=self.number, last_agent_message=message, message_seq=seq)

    async def _model_call(self, allowed: list[str]) -> ModelCallReply:
        compact = self._mailbox.compaction_requested
        request = ModelCallInput(
            session=self._session, turn=self.number, step=self._step, allowed_calls=allowed, compact=compact
        )
        reply = await calls.model_call(request)
        if compact:
            self._mailbox.compaction_requested = False
        return reply

    async def _route(self, open_calls: list[CallSummary]) -> list[str]:
        """Return the calls the next model call shall run first; where one has to wait, run them all here instead."""
        if not any(call.classification is Classification.ASK for call in open_calls):
            return [call.call_id for call in open_calls]
        self._round = ApprovalRound(
            session=self._session,
            turn=self.number,
            settings=self._settings,
            turn_clock=self.clock,
            publish=self._publish,
            requested_at=self._requested_at,
        )
        try:
            await self._round.run(open_calls)
        finally:
            self._round = None
        return []

    def _end_of_failure(self, failure: ActivityError) -> TurnEnd:
        cause = failure.cause
        if isinstance(cause, ApplicationError) and cause.type in (TURN_FAILED, TURN_ABORTED):
            reason = str(cause.details[0]) if cause.details else REASON_INTERNAL_ERROR
            ending = TurnFailed if cause.type == TURN_FAILED else TurnAborted
            return ending(turn=self.number, reason=reason, message=cause.message)
        if isinstance(cause, ApplicationError) and cause.type == TURN_STOPPING:
            return TurnAborted(turn=self.number, reason=REASON_INTERRUPTED)
        if isinstance(cause, ApplicationError) and cause.type == SESSION_CLOSED:
            return TurnAborted(turn=self.number, reason=REASON_SESSION_CLOSED)
        return TurnFailed(turn=self.number, reason=REASON_INTERNAL_ERROR, message=str(cause or failure)[:500])
