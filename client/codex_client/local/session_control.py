"""Plays the operator for one session of this machine: it journals what happens and signals the workflow.

Rows first, signals second: a signal only wakes, and whoever comes later finds all of it in the journal.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from codex_api import names
from codex_api.approvals import Decision
from codex_api.rows import Delivery, MessagePayload, RowKind, SandboxAddressPayload, SessionSettings
from codex_api.workflow_payloads import ApprovalSignal, MessageSignal, SessionInput
from codex_client.operations import JournalRequired
from codex_journal.rows import NewRow

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowHandle

    from codex_journal.journal import Journal

INSTALLATION = "local"
NAMESPACE = "default"
RETRY_SECONDS = 1.0


class SessionControl:
    """One session, as whoever holds its lock may steer it. Methods raise JournalError and temporalio's RPCError."""

    def __init__(self, client: Client, journal: Journal | None, workflow_id: str) -> None:
        self.session = workflow_id.rpartition("/")[2]
        self.handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(workflow_id)
        self._client = client
        self._rows = journal
        self._names = workflow_id.split("/", 4)

    @property
    def _journal(self) -> Journal:
        if self._rows is None:
            raise JournalRequired("a message or a decision is a row of the journal first: attach with the journal")
        return self._rows

    @staticmethod
    def workflow_id(name: str, session: str) -> str:
        """Return the id of a session of this machine."""
        return names.workflow_id(INSTALLATION, NAMESPACE, name, session)

    async def create(self, settings: SessionSettings, sandbox_socket: str, prompt: str | None) -> int:
        """Journal the session, its sandbox and its first message; return that one's seq, 0 without a prompt."""
        _, installation, namespace, name, session = self._names
        rows = [NewRow(RowKind.SESSION_OPENED, {}), _address_row(1, sandbox_socket)]
        if prompt is not None:
            rows.append(_message_row(MessagePayload(key="prompt", text=prompt, delivery=Delivery.QUEUE)))
        await self._journal.create_session(session, installation, namespace, name, settings, rows)
        return 0 if prompt is None else len(rows)

    async def announce(self, generation: int, socket: str) -> None:
        """Journal where the next generation of the session's sandbox listens; the files are the same ones."""
        await self._journal.append(self.session, f"address/{generation}", [_address_row(generation, socket)])

    async def start(self, task_queue: str, *, afresh: bool) -> None:
        """Start the workflow, or find it running; ``afresh`` replaces one that runs, the journal holds its state."""
        from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

        await self._client.start_workflow(
            names.WORKFLOW_TYPE,
            SessionInput(session=self.session),
            id=self.handle.id,
            task_queue=task_queue,
            id_conflict_policy=(
                WorkflowIDConflictPolicy.TERMINATE_EXISTING if afresh else WorkflowIDConflictPolicy.USE_EXISTING
            ),
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            task_timeout=timedelta(seconds=names.WORKFLOW_TASK_TIMEOUT_SECONDS),
        )

    async def ended(self) -> str:
        """Wait until the workflow runs no more, whoever ended it, and say so."""
        from temporalio.client import WorkflowFailureError
        from temporalio.service import RPCError, RPCStatusCode

        while True:
            try:
                await self.handle.result()
            except WorkflowFailureError as error:
                return f"the session's workflow has ended: {error.cause}"
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return "Temporal does not know the session's workflow any more"
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return "the session's workflow has ended"

    async def runs_elsewhere(self, task_queue: str) -> bool:
        """Tell whether the workflow runs, but on a queue that nobody of ours serves."""
        from temporalio.client import WorkflowExecutionStatus
        from temporalio.service import RPCError, RPCStatusCode

        try:
            found = await self.handle.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return found.status is WorkflowExecutionStatus.RUNNING and found.task_queue != task_queue

    async def signal_again(self) -> None:
        """Signal what was journaled by somebody who died before the signal; what is known already is ignored."""
        for row in await self._journal.waiting_messages(self.session):
            message = MessagePayload.model_validate(row.payload)
            await self.signal_message(MessageSignal(key=message.key, seq=row.seq, delivery=message.delivery))
        await self.handle.signal(names.SIGNAL_APPROVAL, ApprovalSignal(approval_id=""))

    async def journal_message(self, text: str, delivery: Delivery) -> MessageSignal:
        """Write a message down; the workflow finds it when it starts, or when it is told."""
        key = f"message-{uuid.uuid4()}"
        message = MessagePayload(key=key, text=text, delivery=delivery)
        appended = await self._journal.append(self.session, f"message/{key}", [_message_row(message)])
        return MessageSignal(key=key, seq=appended.rows[0].seq, delivery=delivery)

    async def signal_message(self, message: MessageSignal) -> None:
        await self.handle.signal(names.SIGNAL_USER_TURN, message)

    async def decide(self, decision: Decision) -> None:
        """Journal what a person decided, unless it is decided already, and wake the workflow."""
        await self._journal.decide(self.session, decision)
        await self.handle.signal(names.SIGNAL_APPROVAL, ApprovalSignal(approval_id=decision.approval_id))

    async def interrupt(self) -> None:
        await self.handle.signal(names.SIGNAL_INTERRUPT)

    async def compact(self) -> None:
        await self.handle.signal(names.SIGNAL_COMPACTION)

    async def until_heard(self) -> None:
        """Return once the workflow has taken every signal sent before; only a session with a worker answers."""
        await self.handle.query(names.QUERY_EVENTS, 0)

    async def shutdown(self) -> None:
        await self.handle.signal(names.SIGNAL_SHUTDOWN)


def _address_row(generation: int, socket: str) -> NewRow:
    address = SandboxAddressPayload(generation=generation, unix_path=socket, workspace_kept=generation > 1)
    return NewRow(RowKind.SANDBOX_ADDRESS, address.model_dump(mode="json"))


def _message_row(message: MessagePayload) -> NewRow:
    return NewRow(RowKind.MESSAGE, message.model_dump(mode="json"))
