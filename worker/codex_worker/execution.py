"""Runs one tool call: at most once per life of a supervisor, unknown after its loss, and said so."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from codex_api.conditions import REASON_REACHED
from codex_api.rows import RowKind, ToolCallPayload, ToolIntentPayload, ToolResultPayload
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, SessionRecord
from codex_sandbox.client import SandboxClient
from codex_sandbox.errors import SandboxConnectionLost, SandboxError, SandboxRefused
from codex_sandbox.protocol import CommandReply, RefusalCode, StartCommand, WriteCharacters
from codex_worker.gate import NotAllowed, require_allowed
from codex_worker.handover import until_shutdown
from codex_worker.metrics import WorkerMetrics
from codex_worker.reply import output_of, result_row
from codex_worker.sandboxes import Sandboxes, SandboxNotReady
from codex_worker.tools import outcomes
from codex_worker.tools.exec_command import WRITE_STDIN
from codex_worker.tools.output import BYTES_PER_TOKEN, format_reply
from codex_worker.transcript import Transcript, Transcripts

# After these the supervisor will not run the call, in this life or any other: the model is told.
_SAID_TO_THE_MODEL = frozenset(
    {
        RefusalCode.DIGEST_MISMATCH,
        RefusalCode.CALL_CONFLICT,
        RefusalCode.BAD_REQUEST,
        RefusalCode.TOO_MANY_PROCESSES,
        RefusalCode.STDIN_CLOSED,
        RefusalCode.INTERNAL,
    }
)


class Executor:
    """Intent before start, result after end, both journaled: a repeat attaches, or says what nobody can know."""

    def __init__(
        self, journal: Journal, transcripts: Transcripts, sandboxes: Sandboxes, metrics: WorkerMetrics
    ) -> None:
        self._journal = journal
        self._transcripts = transcripts
        self._sandboxes = sandboxes
        self._metrics = metrics

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
        started = time.monotonic()
        intent = transcript.intents.get(call_id)
        # A hello from before an intent was journaled says nothing about who holds the command now.
        async with self._sandboxes.lease(record.session, record.settings, fresh=intent is not None) as sandbox:
            if intent is None:
                intent, inserted = await self._journal_intent(record.session, call, sandbox)
                if not inserted and intent.boot_id != sandbox.hello.boot_id:
                    raise SandboxConnectionLost("another attempt began on a newer sandbox than this connection's")
            result = await self._result(record, transcript, call, intent, sandbox)
            if await self.journal_result(record.session, call, result):
                duration = self._metrics.tool_duration.labels(tool=call.tool, outcome=result.outcome)
                duration.observe(time.monotonic() - started)
            with contextlib.suppress(SandboxError):
                await sandbox.forget([call_id])

    async def journal_result(self, session: str, call: ToolCallPayload, result: ToolResultPayload) -> bool:
        """Append a call's result; returns whether this process' one is the one that counts."""
        turn, step = position_of(call)
        row = result_row(result, turn, step, call.index)
        appended = await self._journal.append(session, f"{call.call_id}/result", [row])
        self._transcripts.add(appended)
        return appended.inserted

    async def _result(
        self,
        record: SessionRecord,
        transcript: Transcript,
        call: ToolCallPayload,
        intent: ToolIntentPayload,
        sandbox: SandboxClient,
    ) -> ToolResultPayload:
        if intent.boot_id != sandbox.hello.boot_id:
            return self._lost(call, kept=await self._workspace_kept(record.session))
        try:
            if call.tool == WRITE_STDIN:
                reply = await until_shutdown(sandbox.write(write_of(call, intent.boot_id)))
            else:
                reply = await until_shutdown(sandbox.start(command_of(call, intent.boot_id)))
        except SandboxRefused as refusal:
            return await self._refused(record, call, sandbox, refusal)
        return self._completed(call, reply, _note(transcript, call, sandbox.hello.generation))

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

    async def _workspace_kept(self, session: str) -> bool:
        return (await self._transcripts.load(session)).workspace_kept

    async def _refused(
        self, record: SessionRecord, call: ToolCallPayload, sandbox: SandboxClient, refusal: SandboxRefused
    ) -> ToolResultPayload:
        """Turn a refusal into what the model reads, or into waiting."""
        session = record.session
        if refusal.code == RefusalCode.NOT_ISOLATED:
            await self._sandboxes.report_isolation(session, sandbox)
            raise SandboxNotReady(REASON_REACHED, refusal.message) from refusal
        if refusal.code in (RefusalCode.BOOT_MISMATCH, RefusalCode.ALREADY_FINISHED):
            return self._lost(call, kept=await self._workspace_kept(session))
        if refusal.code == RefusalCode.TOMBSTONED:
            return _result_of(call, outcomes.aborted(), "aborted")
        if refusal.code == RefusalCode.UNKNOWN_PROCESS:
            return _result_of(call, outcomes.unknown_process(process_of(call)), "failed")
        if refusal.code in _SAID_TO_THE_MODEL:
            return _result_of(call, outcomes.refused(refusal.message), "refused")
        raise refusal

    def _lost(self, call: ToolCallPayload, *, kept: bool) -> ToolResultPayload:
        if call.tool == WRITE_STDIN:
            return _result_of(call, outcomes.process_lost(process_of(call)), "interrupted")
        return _result_of(call, outcomes.interrupted(kept), "interrupted")

    def _completed(self, call: ToolCallPayload, reply: CommandReply, note: str) -> ToolResultPayload:
        text = note + format_reply(call.call_id, reply, int(call.arguments["max_output_tokens"]))
        return ToolResultPayload(
            call_id=call.call_id,
            item=output_of(call, text),
            exit_code=reply.exit_code,
            process=reply.process,
            duration_seconds=reply.wall_time_seconds,
        )


def _note(transcript: Transcript, call: ToolCallPayload, generation: int) -> str:
    """Return what the model has to know before the output: that this is another sandbox than the last one."""
    position = position_of(call)
    before = [
        intent.generation
        for name, intent in transcript.intents.items()
        if position_of(transcript.calls[name]) < position
    ]
    if not before or max(before) >= generation:
        return ""
    return outcomes.sandbox_replaced(transcript.workspace_kept) + "\n"


async def run_in_parallel(calls: list[Callable[[], Awaitable[None]]]) -> None:
    """Run all to their end; the first error is raised only then, so that no finished result is thrown away."""
    outcomes_of = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    for outcome in outcomes_of:
        if isinstance(outcome, BaseException):
            raise outcome


def position_of(call: ToolCallPayload) -> tuple[int, int]:
    """Return (turn, step) of a call, which its id is made of."""
    turn, step, _ = call.call_id.split(".")
    return int(turn[1:]), int(step[1:])


def process_of(call: ToolCallPayload) -> int:
    return int(call.arguments["session_id"])


def command_of(call: ToolCallPayload, boot_id: str) -> StartCommand:
    return StartCommand(
        call_id=call.call_id,
        boot_id=boot_id,
        digest=call.digest,
        argv=tuple(call.argv),
        directory=call.directory,
        environment=call.environment,
        stdin=call.stdin,
        tty=call.tty,
        yield_time_ms=int(call.arguments["yield_time_ms"]),
        max_output_bytes=_output_bytes(call),
    )


def write_of(call: ToolCallPayload, boot_id: str) -> WriteCharacters:
    return WriteCharacters(
        call_id=call.call_id,
        boot_id=boot_id,
        digest=call.digest,
        process=process_of(call),
        characters=str(call.arguments["chars"]),
        yield_time_ms=int(call.arguments["yield_time_ms"]),
        max_output_bytes=_output_bytes(call),
    )


def _output_bytes(call: ToolCallPayload) -> int:
    return int(call.arguments["max_output_tokens"]) * BYTES_PER_TOKEN


def _result_of(call: ToolCallPayload, text: str, outcome: str) -> ToolResultPayload:
    return ToolResultPayload(call_id=call.call_id, item=output_of(call, text), outcome=outcome)
