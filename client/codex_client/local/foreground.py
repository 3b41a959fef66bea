"""One turn in the foreground: its rows go to the view, its questions to the person, their answers to the session."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from codex_api.approvals import DecisionKind
from codex_api.events import (
    ApprovalDecided,
    ExecApprovalRequest,
    TurnAborted,
    TurnComplete,
    TurnFailed,
    TurnStarted,
)
from codex_api.rows import AdmissionPayload, SessionClosedPayload, ToolCallPayload
from codex_client.event_source import SessionEnded, SessionEvent
from codex_client.operations import ExecApproval, UserInputAnswer
from codex_client.view.outcome import outcome_of
from codex_client.view.presenter import Question

if TYPE_CHECKING:
    from codex_client.agent_session import TemporalAgentSession
    from codex_client.view.presenter import Outcome, Presenter
    from codex_journal.rows import Row


class ForegroundTurn:
    """Follows the session until the turn that takes ``message`` has ended; 0: the turn that is unfinished now."""

    def __init__(self, session: TemporalAgentSession, presenter: Presenter, message: int, shown: int = 0) -> None:
        """``shown``: seq of the last row that the presenter has had already."""
        self._session = session
        self._presenter = presenter
        self._message = message
        self.shown = shown
        self._turn: int | None = None
        self._rows: list[Row] = []
        self._calls: dict[str, ToolCallPayload] = {}
        self._questions: asyncio.Queue[ExecApprovalRequest] = asyncio.Queue()
        self._settled: dict[str, asyncio.Event] = {}

    def recall(self, rows: list[Row]) -> None:
        """Show what an earlier run left of the turn: events begin after these rows."""
        from codex_client.event_source import event_of

        for row in rows:
            self._follow(event_of(row))

    async def run(self) -> Outcome:
        """Return how the turn ended; raises what TemporalAgentSession.next_event raises."""
        asking = asyncio.create_task(self._ask_all())
        try:
            with contextlib.suppress(SessionEnded):
                while not self._follow(await self._next(asking)):
                    pass
        finally:
            asking.cancel()
            await asyncio.wait([asking])
        return self.outcome()

    def outcome(self) -> Outcome:
        """Return how the turn stands."""
        return outcome_of(self._rows)

    async def _next(self, asking: asyncio.Task[None]) -> SessionEvent:
        """Return the next event; an answer that could not be delivered is raised here."""
        event = asyncio.create_task(self._session.next_event())
        await asyncio.wait([event, asking], return_when=asyncio.FIRST_COMPLETED)
        if asking.done() and not event.done():
            event.cancel()
            asking.result()
        return await event

    def _follow(self, event: SessionEvent) -> bool:
        """Show an event; True where it is the end."""
        assert event.row is not None
        self._rows.append(event.row)
        if event.row.seq > self.shown:
            self._presenter.show(event.row)
            self.shown = event.row.seq
        match event.payload:
            case TurnStarted(turn=turn, message=message) if message == self._message or not self._message:
                self._turn = turn
            case AdmissionPayload(message=message) if message == self._message:
                self._turn = event.turn
            case ToolCallPayload(call_id=call_id):
                self._calls[call_id] = event.payload
            case ExecApprovalRequest(approval_id=approval):
                self._settled[approval] = asyncio.Event()
                self._questions.put_nowait(event.payload)
            case ApprovalDecided(approval_id=approval) if approval in self._settled:
                self._settled[approval].set()
            case TurnComplete(turn=turn) | TurnAborted(turn=turn) | TurnFailed(turn=turn):
                return turn == self._turn
            case SessionClosedPayload():
                return True
            case _:
                pass
        return False

    async def _ask_all(self) -> None:
        """Ask one question after the other; what others decided meanwhile is not asked, or no longer."""
        while True:
            request = await self._questions.get()
            settled = self._settled[request.approval_id]
            if not settled.is_set():
                await self._ask(request, settled)

    async def _ask(self, request: ExecApprovalRequest, settled: asyncio.Event) -> None:
        question = Question(request.approval_id, self._calls[request.call_id], request.expiration_time)
        answer = asyncio.create_task(self._presenter.ask(question))
        elsewhere = asyncio.create_task(settled.wait())
        try:
            await asyncio.wait([answer, elsewhere], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                return
            decision = answer.result()
            if decision.kind is DecisionKind.ANSWER:
                await self._session.submit(UserInputAnswer(request.approval_id, decision.reason))
            else:
                await self._session.submit(ExecApproval(request.approval_id, decision.kind, decision.reason))
        finally:
            for task in (answer, elsewhere):
                task.cancel()
            await asyncio.wait([answer, elsewhere])
