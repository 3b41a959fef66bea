"""The workflow's calls to its activities: names, options and payload types meet here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow

from codex_api import names
from codex_api.events import AnyEvent, TurnAborted, TurnFailed
from codex_api.workflow_payloads import (
    JournalEventsInput,
    JournalEventsReply,
    ModelCallInput,
    ModelCallReply,
    OpenSession,
    OpenSessionInput,
    ResolveApprovalsInput,
    ResolveApprovalsReply,
    StopProcessesInput,
    StopProcessesReply,
    ToolExecInput,
    ToolExecReply,
)
from codex_worker.activity_options import JOURNAL, STEP, STOP_PROCESSES_WITHIN


async def open_session(session: str) -> OpenSession:
    reply: OpenSession = await workflow.execute_local_activity(
        names.ACTIVITY_OPEN_SESSION, OpenSessionInput(session=session), result_type=OpenSession, **JOURNAL
    )
    return reply


async def journal_events(session: str, events: Sequence[AnyEvent]) -> JournalEventsReply:
    reply: JournalEventsReply = await workflow.execute_local_activity(
        names.ACTIVITY_JOURNAL_EVENTS,
        JournalEventsInput(session=session, events=list(events)),
        result_type=JournalEventsReply,
        **JOURNAL,
    )
    return reply


async def resolve_approvals(request: ResolveApprovalsInput) -> ResolveApprovalsReply:
    reply: ResolveApprovalsReply = await workflow.execute_local_activity(
        names.ACTIVITY_RESOLVE_APPROVALS, request, result_type=ResolveApprovalsReply, **JOURNAL
    )
    return reply


async def model_call(request: ModelCallInput) -> ModelCallReply:
    reply: ModelCallReply = await workflow.execute_activity(
        names.ACTIVITY_MODEL_CALL,
        request,
        result_type=ModelCallReply,
        summary=f"turn {request.turn} step {request.step}",
        **STEP,
    )
    return reply


async def tool_exec(session: str, call_id: str, preview: str) -> ToolExecReply:
    reply: ToolExecReply = await workflow.execute_activity(
        names.ACTIVITY_TOOL_EXEC,
        ToolExecInput(session=session, call_id=call_id),
        result_type=ToolExecReply,
        summary=preview,
        **STEP,
    )
    return reply


async def stop_processes(session: str, turn: int, end: TurnAborted | TurnFailed) -> StopProcessesReply:
    reply: StopProcessesReply = await workflow.execute_activity(
        names.ACTIVITY_STOP_PROCESSES,
        StopProcessesInput(session=session, turn=turn, end=end),
        result_type=StopProcessesReply,
        summary=f"stop the processes of turn {turn}",
        schedule_to_close_timeout=STOP_PROCESSES_WITHIN,
        **STEP,
    )
    return reply
