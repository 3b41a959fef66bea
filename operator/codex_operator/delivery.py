"""Carries what the journal and the object say to the workflow: every unacknowledged key, once per workflow run.

A signal only wakes the workflow; what was decided or said stands in the journal before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

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

log = structlog.get_logger("codex_operator.session")

PROMPT_KEY = "prompt"
SHUTDOWN_KEY = "shutdown"
# What opens a session: session_opened and the prompt.
OPENING_ROWS = 2
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
        """Deliver what is new; ``started``: this pass asked for a run, which may have been open already.

        Does nothing where neither the journal, the annotations nor the run have changed since everything was delivered.
        """
        candidates = undelivered(session.annotations, memory.acknowledged)
        delivered = (memory.run_id, record.last_seq, frozenset(candidates.items()))
        if started and record.last_seq <= OPENING_ROWS and not candidates:
            # A session that was just made: its run reads the prompt by itself, and there is nothing else.
            memory.delivered = delivered
        if delivered == memory.delivered:
            return ()
        book = read_book(await self._journal.read(session.uid, kinds=APPROVAL_KINDS))
        memory.acknowledged |= book.acknowledged
        plan = plan_decisions(candidates, book, stamp_required=self._stamp_required)
        for decision in plan.decisions:
            standing, inserted = await self._journal.decide(session.uid, decision)
            if inserted:
                metrics.DECISIONS.labels(standing.kind.value).inc()
                log.info(
                    "decision journaled",
                    approval=standing.approval_id,
                    decision=standing.kind.value,
                    by=standing.decided_by,
                )
        await self._deliver_decisions(session, memory, workflow_id, book)
        await self._deliver_messages(session, memory, workflow_id)
        memory.delivered = delivered
        return plan.notices

    async def request_shutdown(self, memory: SessionMemory, workflow_id: str) -> None:
        """Ask the workflow once per run to end after its turn."""
        await self._once(memory, SHUTDOWN_KEY, lambda: self._workflows.signal_shutdown(workflow_id))

    async def _deliver_decisions(
        self, session: SessionObject, memory: SessionMemory, workflow_id: str, book: ApprovalBook
    ) -> None:
        decided = await self._journal.decisions(session.uid, book.requested - book.acknowledged)
        for approval_id in decided:
            await self._once(memory, approval_id, self._approval(workflow_id, approval_id))

    async def _deliver_messages(self, session: SessionObject, memory: SessionMemory, workflow_id: str) -> None:
        """Signal waiting messages, also to a run that was just asked for: it may have been open, or read before them.

        The workflow drops what it knows. The prompt stands in the journal before any run begins.
        """
        for row in await self._journal.waiting_messages(session.uid):
            if row.seq <= OPENING_ROWS:
                continue
            payload = MessagePayload.model_validate(row.payload)
            signal = MessageSignal(key=payload.key, seq=row.seq, delivery=payload.delivery)
            await self._once(memory, payload.key, self._message(workflow_id, signal))

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
