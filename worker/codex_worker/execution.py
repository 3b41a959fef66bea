"""Runs tool calls: judged once more from the journal, then handed to the tool's handler, serial ones alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from codex_api.rows import ToolCallPayload, ToolResultPayload
from codex_api.tools import APPLY_PATCH, EXEC_COMMAND, REQUEST_USER_INPUT, UPDATE_PLAN, VIEW_IMAGE, WRITE_STDIN
from codex_journal.journal import Journal
from codex_journal.rows import SessionRecord
from codex_worker.gate import NotAllowed, require_allowed
from codex_worker.handlers.images import Images
from codex_worker.handlers.results import GrantedCall, Results
from codex_worker.handlers.sandboxed import SandboxedCalls
from codex_worker.handlers.unexecuted import PlanUpdates, Questions
from codex_worker.metrics import WorkerMetrics
from codex_worker.sandboxes import Sandboxes
from codex_worker.transcript import Transcript, Transcripts


class Handler(Protocol):
    async def run(self, granted: GrantedCall) -> None: ...


class Executor:
    """At most once, whoever asks: a call with a result is done, one without is judged anew."""

    def __init__(
        self, journal: Journal, transcripts: Transcripts, sandboxes: Sandboxes, metrics: WorkerMetrics
    ) -> None:
        self._journal = journal
        self._results = Results(journal, transcripts, metrics)
        sandboxed = SandboxedCalls(journal, transcripts, sandboxes, self._results)
        self._handlers: dict[str, Handler] = {
            EXEC_COMMAND: sandboxed,
            WRITE_STDIN: sandboxed,
            APPLY_PATCH: sandboxed,
            VIEW_IMAGE: Images(sandboxes, transcripts, self._results),
            UPDATE_PLAN: PlanUpdates(self._results),
            REQUEST_USER_INPUT: Questions(self._results),
        }

    async def run(self, record: SessionRecord, transcript: Transcript, call_id: str) -> None:
        """Run the call unless its result is journaled already.

        Raises NotAllowed, SandboxNotReady, SandboxError (repeat the call), JournalError.
        """
        if call_id in transcript.results:
            return
        call = transcript.calls.get(call_id)
        if call is None:
            raise NotAllowed(f"there is no call {call_id} in the journal")
        decided = await self._journal.decisions(record.session, [call.approval_id]) if call.approval_id else {}
        decision = decided[call.approval_id][0] if call.approval_id in decided else None
        require_allowed(call, session=record.session, policy=record.settings.approval_policy, decision=decision)
        handler = self._handlers.get(call.tool)
        if handler is None:
            raise NotAllowed(f"this worker has no tool {call.tool}")
        await handler.run(GrantedCall(record, transcript, call, decision))

    async def journal_result(self, session: str, call: ToolCallPayload, result: ToolResultPayload) -> bool:
        """Append the result of a call that did not run; returns whether this process' one is the one that counts."""
        return await self._results.append(session, call, result)


async def run_calls(executor: Executor, record: SessionRecord, transcript: Transcript, call_ids: Sequence[str]) -> None:
    """Run the calls in their order: neighbours that may run in parallel do, a serial one runs alone.

    Raises what ``Executor.run`` raises, once no call runs any more: no finished result is thrown away.
    """
    group: list[str] = []
    for call_id in call_ids:
        call = transcript.calls.get(call_id)
        if call is not None and call.serial:
            await _run_in_parallel(executor, record, transcript, group)
            await executor.run(record, transcript, call_id)
            group = []
        else:
            group.append(call_id)
    await _run_in_parallel(executor, record, transcript, group)


async def _run_in_parallel(
    executor: Executor, record: SessionRecord, transcript: Transcript, call_ids: Sequence[str]
) -> None:
    running = [executor.run(record, transcript, call_id) for call_id in call_ids]
    for outcome in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
