"""Carries what the journal and the object say to the workflow: every unacknowledged key, once per workflow run.

A signal only wakes the workflow; what was decided or said stands in the journal before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from codex_api.rows import MessagePayload, RowKind
from codex_api.workflow_payloads import MessageSignal
from codex_journal.journal import Journal
from codex_journal.rows import SessionRecord
from codex_operator import metrics
from codex_operator.approvals import ApprovalBook, plan_decisions, read_book, undelivered
from codex_operator.observations import Notice
from codex_operator.session_memory import SessionMemory
from codex_operator.session_object import SessionObject
from codex_operator.workflows import WorkflowGone, Workflows

SHUTDOWN_KEY = "shutdown"
APPROVAL_KINDS = (RowKind.TOOL_CALL, RowKind.EVENT)


class Delivery:
    """Journals decisions and wakes workflows; raises JournalError and TemporalUnavailable."""

    def __init__(self, journal: Journal, workflows: Workflows, *, stamp_required: bool) -> None:
        self._journal = journal
        self._workflows = workflows
        self._stamp_required = stamp_required

    async def deliver(
        self, session: SessionObject, record: SessionRecord, memory: SessionMemory, workflow_id: str, *, started: bool
    ) -> tuple[Notice, ...]:
        """Deliver what is new; ``started``: this pass began the run, which reads waiting messages by itself.

        Does nothing where neither the journal nor the annotations have anything that was not delivered before.
        """
        candidates = undelivered(session.annotations, memory.acknowledged)
        if not candidates and record.last_seq == memory.checked_seq:
            return ()
        book = read_book(await self._journal.read(session.uid, kinds=APPROVAL_KINDS))
        memory.acknowledged |= book.acknowledged
        plan = plan_decisions(candidates, book, stamp_required=self._stamp_required)
        for decision in plan.decisions:
            standing, inserted = await self._journal.decide(session.uid, decision)
            if inserted:
                metrics.DECISIONS.labels(standing.kind.value).inc()
        open_decisions = await self._deliver_decisions(session, memory, workflow_id, book)
        open_messages = await self._deliver_messages(session, memory, workflow_id, started=started)
        memory.checked_seq = -1 if open_decisions or open_messages else record.last_seq
        return plan.notices

    async def request_shutdown(self, memory: SessionMemory, workflow_id: str) -> None:
        """Ask the workflow once per run to end after its turn."""
        await self._once(memory, SHUTDOWN_KEY, lambda: self._workflows.signal_shutdown(workflow_id))

    async def _deliver_decisions(
        self, session: SessionObject, memory: SessionMemory, workflow_id: str, book: ApprovalBook
    ) -> bool:
        decided = await self._journal.decisions(session.uid, book.requested - book.acknowledged)
        for approval_id in decided:
            await self._once(memory, approval_id, self._approval(workflow_id, approval_id))
        return bool(decided)

    async def _deliver_messages(
        self, session: SessionObject, memory: SessionMemory, workflow_id: str, *, started: bool
    ) -> bool:
        waiting = await self._journal.waiting_messages(session.uid)
        for row in waiting:
            payload = MessagePayload.model_validate(row.payload)
            signal = MessageSignal(key=payload.key, seq=row.seq, delivery=payload.delivery)
            if started:
                memory.signalled.add((memory.run_id or "", payload.key))
            else:
                await self._once(memory, payload.key, self._message(workflow_id, signal))
        return bool(waiting)

    def _approval(self, workflow_id: str, approval_id: str) -> Callable[[], Awaitable[None]]:
        return lambda: self._workflows.signal_approval(workflow_id, approval_id)

    def _message(self, workflow_id: str, signal: MessageSignal) -> Callable[[], Awaitable[None]]:
        return lambda: self._workflows.signal_message(workflow_id, signal)

    async def _once(self, memory: SessionMemory, key: str, send: Callable[[], Awaitable[None]]) -> None:
        """Send a signal unless this process has sent it to this run; raises WorkflowGone where no run is open."""
        sent = (memory.run_id or "", key)
        if sent in memory.signalled:
            return
        try:
            await send()
        except WorkflowGone:
            memory.run_id = None
            raise
        memory.signalled.add(sent)
