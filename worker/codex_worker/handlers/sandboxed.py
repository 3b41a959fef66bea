"""Commands, writes and patches: at most once per life of a supervisor, unknown after its loss, and said so."""

from __future__ import annotations

import contextlib

from codex_api.conditions import REASON_REACHED
from codex_api.events import TurnDiff
from codex_api.rows import RowKind, ToolCallPayload, ToolIntentPayload, ToolResultPayload
from codex_api.tools import APPLY_PATCH, WRITE_STDIN
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_sandbox.client import SandboxClient
from codex_sandbox.errors import SandboxConnectionLost, SandboxError, SandboxRefused
from codex_sandbox.protocol import CommandReply, RefusalCode
from codex_worker.handlers.requests import command_of, command_result, process_of, write_of
from codex_worker.handlers.results import GrantedCall, Results, position_of, result_of
from codex_worker.handover import until_shutdown
from codex_worker.sandboxes import Sandboxes, SandboxNotReady
from codex_worker.tools import outcomes
from codex_worker.transcript import Transcript, Transcripts

# After these the supervisor will not run the call, in this life or any other: the model is told.
_SAID_TO_THE_MODEL = frozenset(
    {
        RefusalCode.DIGEST_MISMATCH,
        RefusalCode.CALL_CONFLICT,
        RefusalCode.BAD_REQUEST,
        RefusalCode.STDIN_CLOSED,
        RefusalCode.INTERNAL,
    }
)

Outcome = tuple[ToolResultPayload, list[TurnDiff]]


class SandboxedCalls:
    """Intent before start, result after end, both journaled: a repeat attaches, or says what nobody can know."""

    def __init__(self, journal: Journal, transcripts: Transcripts, sandboxes: Sandboxes, results: Results) -> None:
        self._journal = journal
        self._transcripts = transcripts
        self._sandboxes = sandboxes
        self._results = results

    async def run(self, granted: GrantedCall) -> None:
        """Raises SandboxNotReady, SandboxError (repeat the call), JournalError."""
        record, call = granted.record, granted.call
        intent = granted.transcript.intents.get(call.call_id)
        # A hello from before an intent was journaled says nothing about who holds the command now.
        async with self._sandboxes.lease(record.session, record.settings, fresh=intent is not None) as sandbox:
            if intent is None:
                intent, inserted = await self._journal_intent(record.session, call, sandbox)
                if not inserted and intent.boot_id != sandbox.hello.boot_id:
                    raise SandboxConnectionLost("another attempt began on a newer sandbox than this connection's")
            result, events = await self._outcome(granted, intent, sandbox)
            await self._results.finish(granted, result, events)
            with contextlib.suppress(SandboxError):
                await sandbox.forget([call.call_id])

    async def _outcome(self, granted: GrantedCall, intent: ToolIntentPayload, sandbox: SandboxClient) -> Outcome:
        call = granted.call
        if intent.boot_id != sandbox.hello.boot_id:
            return self._lost(call, kept=await self._workspace_kept(granted)), []
        try:
            reply = await until_shutdown(_send(call, sandbox))
        except SandboxRefused as refusal:
            return await self._refused(granted, sandbox, refusal), []
        if call.tool == APPLY_PATCH and reply.exit_code is None:
            # A patch that is told to have failed must not write later.
            await sandbox.stop(call_ids=[call.call_id])
        return command_result(call, reply, _note(granted.transcript, call, sandbox.hello.generation))

    async def _journal_intent(
        self, session: str, call: ToolCallPayload, sandbox: SandboxClient
    ) -> tuple[ToolIntentPayload, bool]:
        """Return the intent that counts, and whether it is this attempt's."""
        hello = sandbox.hello
        intent = ToolIntentPayload(
            call_id=call.call_id,
            boot_id=hello.boot_id,
            generation=hello.generation,
            environment_hash=hello.environment_hash,
        )
        turn, step = position_of(call)
        row = NewRow(RowKind.TOOL_INTENT, intent.model_dump(), turn, step)
        appended = await self._journal.append(session, f"{call.call_id}/intent", [row])
        self._transcripts.add(appended)
        return ToolIntentPayload.model_validate(appended.rows[0].payload), appended.inserted

    async def _workspace_kept(self, granted: GrantedCall) -> bool:
        return (await self._transcripts.load(granted.record.session)).workspace_kept

    async def _refused(
        self, granted: GrantedCall, sandbox: SandboxClient, refusal: SandboxRefused
    ) -> ToolResultPayload:
        """Turn a refusal into what the model reads, or into waiting."""
        call = granted.call
        if refusal.code == RefusalCode.NOT_ISOLATED:
            await self._sandboxes.report_isolation(granted.record.session, sandbox)
            raise SandboxNotReady(REASON_REACHED, refusal.message) from refusal
        if refusal.code in (RefusalCode.BOOT_MISMATCH, RefusalCode.ALREADY_FINISHED):
            return self._lost(call, kept=await self._workspace_kept(granted))
        if refusal.code == RefusalCode.TOMBSTONED:
            return result_of(call, outcomes.aborted(), "aborted")
        if refusal.code == RefusalCode.UNKNOWN_PROCESS:
            return result_of(call, outcomes.unknown_process(process_of(call)), "failed")
        if refusal.code == RefusalCode.TOO_MANY_PROCESSES:
            return result_of(call, outcomes.too_many_processes(refusal.message), "refused")
        if refusal.code in _SAID_TO_THE_MODEL:
            return result_of(call, outcomes.refused(refusal.message), "refused")
        raise refusal

    def _lost(self, call: ToolCallPayload, *, kept: bool) -> ToolResultPayload:
        if call.tool == WRITE_STDIN:
            return result_of(call, outcomes.process_lost(process_of(call)), "interrupted")
        return result_of(call, outcomes.interrupted(kept), "interrupted")


async def _send(call: ToolCallPayload, sandbox: SandboxClient) -> CommandReply:
    boot_id = sandbox.hello.boot_id
    if call.tool == WRITE_STDIN:
        return await sandbox.write(write_of(call, boot_id))
    return await sandbox.start(command_of(call, boot_id))


def _note(transcript: Transcript, call: ToolCallPayload, generation: int) -> str:
    """Return what the model has to know before the output: that this is another sandbox than the last one."""
    position = position_of(call)
    before = [generation for generation, began in transcript.generations.items() if began < position]
    if not before or max(before) >= generation:
        return ""
    return outcomes.sandbox_replaced(transcript.workspace_kept) + "\n"
