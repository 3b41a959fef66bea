"""Activities between the workflow and the session's sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from codex_api import names
from codex_api.rows import RowKind, TurnStoppingPayload
from codex_api.workflow_payloads import StopProcessesInput, StopProcessesReply, ToolExecInput, ToolExecReply
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_sandbox.errors import SandboxError
from codex_worker import errors
from codex_worker.activities.session import journal_errors, session_record
from codex_worker.execution import Executor
from codex_worker.gate import NotAllowed
from codex_worker.handlers.results import position_of
from codex_worker.handover import WorkerStopping
from codex_worker.heartbeat import heartbeating
from codex_worker.sandboxes import Sandboxes, SandboxNotReady
from codex_worker.transcript import Transcript, Transcripts

log = structlog.get_logger("codex_worker.tools")

SANDBOX_RETRY = timedelta(seconds=0.5)
RECONNECT = timedelta(seconds=0.1)


@contextmanager
def sandbox_errors() -> Iterator[None]:
    """Turn a sandbox that is away into a retry soon, and a call that must not run into a final error."""
    try:
        yield
    except SandboxNotReady as error:
        log.info("waiting for a sandbox", reason=error.reason, message=str(error), workflow=activity.info().workflow_id)
        raise ApplicationError(
            str(error),
            error.reason,
            type=errors.SANDBOX_NOT_READY,
            next_retry_delay=SANDBOX_RETRY,
            category=ApplicationErrorCategory.BENIGN,
        ) from error
    except (SandboxError, WorkerStopping) as error:
        log.info("handed over", reason=type(error).__name__, message=str(error), workflow=activity.info().workflow_id)
        raise ApplicationError(
            str(error),
            type=type(error).__name__,
            next_retry_delay=RECONNECT,
            category=ApplicationErrorCategory.BENIGN,
        ) from error
    except NotAllowed as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error


def require_going_on(transcript: Transcript, turn: int) -> None:
    """Raise a final error where somebody has stopped the turn: nothing more is run or asked for it."""
    if transcript.stopping_turn >= turn:
        raise ApplicationError("the turn is being stopped", type=errors.TURN_STOPPING, non_retryable=True)


def _stopping(request: StopProcessesInput) -> TurnStoppingPayload:
    return TurnStoppingPayload(end=None if request.end is None else request.end.model_dump(mode="json"))


class ToolActivities:
    def __init__(self, journal: Journal, transcripts: Transcripts, executor: Executor, sandboxes: Sandboxes) -> None:
        self._journal = journal
        self._transcripts = transcripts
        self._executor = executor
        self._sandboxes = sandboxes

    @activity.defn(name=names.ACTIVITY_TOOL_EXEC)
    async def tool_exec(self, request: ToolExecInput) -> ToolExecReply:
        async with heartbeating():
            with journal_errors(), sandbox_errors():
                record = await self._transcripts.record(request.session)
                transcript = await self._transcripts.load(request.session)
                if (call := transcript.calls.get(request.call_id)) is not None:
                    require_going_on(transcript, position_of(call)[0])
                await self._executor.run(record, transcript, request.call_id)
                return ToolExecReply(executed=True)

    @activity.defn(name=names.ACTIVITY_STOP_PROCESSES)
    async def stop_processes(self, request: StopProcessesInput) -> StopProcessesReply:
        """Kill what the turn started and refuse what of it still comes; retried until the workflow's patience ends."""
        async with heartbeating():
            with journal_errors(), sandbox_errors():
                record = await session_record(self._journal, request.session)
                if record.closed:
                    return StopProcessesReply(stopped=True)
                # A killed command returns at once, its activity hears of the cancellation later: the model must not be
                # told of the one before the other.
                row = NewRow(RowKind.TURN_STOPPING, _stopping(request).model_dump(), request.turn)
                await self._journal.append(request.session, f"t{request.turn}/stopping", [row])
                if not await self._sandboxes.exists(request.session):
                    return StopProcessesReply(stopped=True)
                lease = self._sandboxes.lease(request.session, record.settings, fresh=True, isolated=False)
                async with lease as sandbox:
                    remaining = await sandbox.stop(turn_prefix=f"t{request.turn}.")
                    return StopProcessesReply(stopped=remaining == 0)
