"""One reply of the model in which something waits for a person: every open call becomes a ``tool_exec``.

A call starts once nobody has to be asked about it any more and the calls it has to wait for are over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from temporalio import workflow

from codex_api.approvals import DecisionKind
from codex_api.conditions import REASON_APPROVAL_ABORTED
from codex_api.events import AnyEvent, ExecApprovalRequest, TurnAborted
from codex_api.rows import Classification, SessionSettings
from codex_api.session import OnTimeout
from codex_api.workflow_payloads import CallSummary, ResolveApprovalsInput
from codex_worker import calls
from codex_worker.call_order import due_calls
from codex_worker.entropy import TemporalClock
from codex_worker.errors import TurnEnding
from codex_worker.tools.catalogue import lets_run
from codex_worker.turn_clock import TurnClock

MAX_OPEN_APPROVALS = 8  # what a person can oversee, and what fits into the status


@dataclass
class ApprovalRound:
    """Runs the calls of one reply, asked ones at their decision; raises TurnEnding when a person aborts."""

    session: str
    turn: int
    settings: SessionSettings
    turn_clock: TurnClock
    publish: Callable[[Sequence[AnyEvent]], None]
    requested_at: dict[str, float]
    """Approval id → seconds since the epoch; filled by an earlier run where that asked already."""
    signals: int = 0
    _handled: int = 0
    _calls: Sequence[CallSummary] = ()
    _waiting: list[CallSummary] = field(default_factory=list)
    """To be asked for, in call order."""
    _pending: dict[str, CallSummary] = field(default_factory=dict)
    """Asked for, by approval id."""
    _refused: set[str] = field(default_factory=set)
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """By call id; finished ones too."""
    _clock: TemporalClock = field(default_factory=TemporalClock)

    def wake(self) -> None:
        """Note that a decision may have been journaled."""
        self.signals += 1

    async def run(self, open_calls: Sequence[CallSummary]) -> None:
        self._calls = open_calls
        self._waiting = [call for call in open_calls if call.classification is Classification.ASK]
        try:
            self._start_due()
            asked_before = [call for call in self._waiting if call.approval_id in self.requested_at]
            self._waiting = [call for call in self._waiting if call.approval_id not in self.requested_at]
            if asked_before:
                self._pending = {call.approval_id: call for call in asked_before}
                await self._resolve(expired=[])
            while self._waiting or self._pending:
                await self._ask()
                await self._wait_for_a_decision()
                await self._resolve_what_is_due()
            await self._run_the_rest()
        except (asyncio.CancelledError, Exception):
            # Not finally: that would also run when a cached workflow is thrown away, outside its event loop.
            for task in self._running.values():
                task.add_done_callback(_seen)
                task.cancel()
            raise

    def _start_due(self) -> None:
        """Start, in call order, what is let run and has nothing before it to wait for."""
        finished = {call_id for call_id, task in self._running.items() if task.done()}
        due = due_calls(
            self._calls,
            undecided={call.call_id for call in (*self._waiting, *self._pending.values())},
            started=self._running,
            settled=finished | self._refused,
        )
        for call in due:
            self._running[call.call_id] = asyncio.create_task(self._execute(call))

    def _unfinished(self) -> int:
        return sum(not task.done() for task in self._running.values())

    def _raise_failures(self) -> None:
        for task in self._running.values():
            if task.done():
                task.result()

    async def _run_the_rest(self) -> None:
        """Start and finish what had to wait for other calls."""
        self._start_due()
        while running := [task for task in self._running.values() if not task.done()]:
            await workflow.wait(running, return_when=asyncio.FIRST_COMPLETED)
            self._raise_failures()
            self._start_due()
        self._raise_failures()

    async def _execute(self, call: CallSummary) -> None:
        await calls.tool_exec(self.session, call.call_id, call.preview)

    async def _ask(self) -> None:
        """Open approvals up to the bound, in call order."""
        room = MAX_OPEN_APPROVALS - len(self._pending)
        opened, self._waiting = self._waiting[:room], self._waiting[room:]
        events: list[AnyEvent] = []
        now = self._clock.timestamp()
        for call in opened:
            self._pending[call.approval_id] = call
            self.requested_at[call.approval_id] = now
            events.append(
                ExecApprovalRequest(
                    turn=self.turn,
                    approval_id=call.approval_id,
                    call_id=call.call_id,
                    request_time=self._clock.rfc3339(now),
                    expiration_time=self._clock.rfc3339(now + self.settings.approval_timeout_seconds),
                )
            )
        if events:
            await calls.journal_events(self.session, events)
            self.publish(events)

    async def _wait_for_a_decision(self) -> None:
        """Return when a signal came, an approval expired, or a running call finished or failed."""
        running = self._unfinished()
        now = self._clock.timestamp()
        if not running:
            self.turn_clock.pause(now)
        soonest = min(self.requested_at[approval] for approval in self._pending)
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self.signals > self._handled or self._unfinished() < running,
                timeout=max(0.0, soonest + self.settings.approval_timeout_seconds - now),
                timeout_summary="approval expires",
            )
        self.turn_clock.resume(self._clock.timestamp())
        self._raise_failures()
        self._start_due()

    async def _resolve_what_is_due(self) -> None:
        expired = self._expired()
        if expired or self.signals > self._handled:
            await self._resolve(expired)

    def _expired(self) -> list[str]:
        deadline = self._clock.timestamp() - self.settings.approval_timeout_seconds
        return [approval for approval in self._pending if self.requested_at[approval] <= deadline]

    async def _resolve(self, expired: list[str]) -> None:
        """Read what the journal says of the pending approvals and act on it."""
        self._handled = self.signals
        reply = await calls.resolve_approvals(
            ResolveApprovalsInput(
                session=self.session,
                turn=self.turn,
                approvals={approval: call.call_id for approval, call in self._pending.items()},
                expired=expired,
                request_times={approval: self.requested_at[approval] for approval in self._pending},
            )
        )
        for resolved in reply.resolved:
            call = self._pending.pop(resolved.approval_id, None)
            if call is None:
                continue
            if lets_run(call.tool, resolved.decision):
                self._start_due()
                continue
            self._refused.add(call.call_id)
            if (message := self._abort_message(call, resolved.decision)) is not None:
                raise TurnEnding(TurnAborted(turn=self.turn, reason=REASON_APPROVAL_ABORTED, message=message))
        # What was refused may have held up what comes after it.
        self._start_due()

    def _abort_message(self, call: CallSummary, decision: DecisionKind) -> str | None:
        """Return why a decision ends the turn, for people; None where the turn goes on."""
        if decision is DecisionKind.ABORT:
            return "a person aborted the turn"
        if decision is DecisionKind.EXPIRE and self.settings.approval_on_timeout is OnTimeout.ABORT:
            return f"nobody decided about `{call.preview}` within {self.settings.approval_timeout_seconds} s"
        return None


def _seen(task: asyncio.Task[None]) -> None:
    """Mark a failure as seen: nobody waits for a call of a round that is over."""
    if not task.cancelled():
        task.exception()
