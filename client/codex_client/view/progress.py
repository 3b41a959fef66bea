"""Rows of the journal, in the order of seq, folded to what happened. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from codex_api.approvals import DecisionKind
from codex_api.events import (
    ApprovalDecided,
    CompactionSkipped,
    ExecApprovalRequest,
    SandboxReset,
    SessionCompleted,
    TurnAborted,
    TurnComplete,
    TurnDiff,
    TurnFailed,
    TurnStarted,
    event_adapter,
)
from codex_api.rows import (
    AdmissionPayload,
    CompactionPayload,
    MessagePayload,
    ModelRetryPayload,
    RowKind,
    SandboxReportPayload,
    SessionClosedPayload,
    ToolCallPayload,
    ToolIntentPayload,
    ToolResultPayload,
    UsagePayload,
)
from codex_api.tools import EXEC_COMMAND, UPDATE_PLAN, WRITE_STDIN
from codex_client.view.happenings import (
    AgentReasoned,
    AgentSaid,
    ApprovalAnswered,
    ApprovalAsked,
    CallBegan,
    CallEnded,
    CompactionLeftOut,
    ConversationCompacted,
    DiffGrew,
    Happening,
    PatchChanged,
    PlanChanged,
    PlanStep,
    ProcessLeftRunning,
    RequestCharged,
    RequestRetried,
    SandboxSaid,
    SessionEnded,
    TurnBegan,
    TurnEnded,
    UserSaid,
)
from codex_client.view.items import (
    agent_text,
    output_text,
    patch_text,
    reasoning_text,
    user_text,
)
from codex_journal.rows import Row

# Shorter waits are over before anybody has read of them.
SHORTEST_WAIT = timedelta(seconds=0.1)


class Progress:
    """The fold; it keeps what later rows refer to: messages, calls, and which of them run."""

    def __init__(self) -> None:
        self._messages: dict[int, str] = {}
        self._calls: dict[str, ToolCallPayload] = {}
        self._begun: set[str] = set()
        self._decided: set[str] = set()
        self._processes: dict[int, str] = {}
        self._first_message = 0
        self._sandbox_problem = ""
        self._ending: ApprovalAnswered | None = None

    def feed(self, row: Row) -> list[Happening]:
        """Return what a row says happened; nothing for a row that people need not see or that is of a newer shape."""
        try:
            return self._fold(row)
        except ValidationError:
            # A newer writer may have added it: whoever only watches goes on.
            return []

    def call(self, call_id: str) -> ToolCallPayload | None:
        """Return a call whose row was fed."""
        return self._calls.get(call_id)

    def _fold(self, row: Row) -> list[Happening]:
        match row.kind:
            case RowKind.EVENT:
                return self._event(row.payload)
            case RowKind.ITEM:
                return _item(row.payload.get("item"))
            case RowKind.USAGE:
                return [RequestCharged(UsagePayload.model_validate(row.payload))]
            case RowKind.MODEL_RETRY:
                return _retried(ModelRetryPayload.model_validate(row.payload), row.at)
            case RowKind.COMPACTION:
                return [ConversationCompacted(CompactionPayload.model_validate(row.payload).reason)]
            case RowKind.SESSION_CLOSED:
                return [SessionEnded(SessionClosedPayload.model_validate(row.payload).reason)]
            case RowKind.SANDBOX_REPORT:
                return self._report(SandboxReportPayload.model_validate(row.payload))
            case RowKind.MESSAGE:
                self._messages[row.seq] = MessagePayload.model_validate(row.payload).text
                return []
            case RowKind.ADMISSION:
                return self._admission(AdmissionPayload.model_validate(row.payload))
            case RowKind.TOOL_CALL | RowKind.TOOL_INTENT | RowKind.TOOL_RESULT:
                return self._tool(row)
            case _:
                return []

    def _event(self, payload: dict[str, Any]) -> list[Happening]:
        event = event_adapter.validate_python(payload)
        match event:
            case TurnStarted():
                self._first_message, self._ending = event.message, None
                return [TurnBegan(event.turn, self._messages.get(event.message, ""))]
            case ExecApprovalRequest():
                return [ApprovalAsked(event, self._calls.get(event.call_id))]
            case ApprovalDecided():
                self._decided.add(event.call_id)
                answered = ApprovalAnswered(event, self._calls.get(event.call_id))
                if event.decision in (DecisionKind.ABORT, DecisionKind.EXPIRE):
                    self._ending = answered
                return [answered]
            case TurnDiff():
                return [DiffGrew(event.unified_diff, event.truncated)]
            case CompactionSkipped():
                return [CompactionLeftOut(event.message)]
            case SandboxReset():
                return [SandboxSaid("SandboxReset", event.message)]
            case SessionCompleted():
                return [SessionEnded(event.reason)]
            case TurnComplete() | TurnAborted() | TurnFailed():
                return [*self._left_running(), TurnEnded(event, self._ending)]

    def _left_running(self) -> list[Happening]:
        running = [(process, self._calls[call]) for process, call in sorted(self._processes.items())]
        self._processes.clear()
        return [ProcessLeftRunning(call, process) for process, call in running]

    def _report(self, report: SandboxReportPayload) -> list[Happening]:
        # The same report comes again and again while a sandbox is waited for.
        problem = "" if report.ready else f"{report.reason}: {report.message}"
        news = problem and problem != self._sandbox_problem
        self._sandbox_problem = problem
        return [SandboxSaid(report.reason, report.message)] if news else []

    def _admission(self, admission: AdmissionPayload) -> list[Happening]:
        if admission.message == self._first_message:
            return []
        return [UserSaid(user_text(admission.item))]

    def _tool(self, row: Row) -> list[Happening]:
        if row.kind is RowKind.TOOL_CALL:
            call = ToolCallPayload.model_validate(row.payload)
            self._calls[call.call_id] = call
            return []
        if row.kind is RowKind.TOOL_INTENT:
            begun = self._calls.get(ToolIntentPayload.model_validate(row.payload).call_id)
            # A new generation of the sandbox may try it again.
            if begun is None or begun.call_id in self._begun:
                return []
            self._begun.add(begun.call_id)
            return [CallBegan(begun)]
        result = ToolResultPayload.model_validate(row.payload)
        answered = self._calls.get(result.call_id)
        return [] if answered is None else self._result(answered, result)

    def _result(self, call: ToolCallPayload, result: ToolResultPayload) -> list[Happening]:
        began = call.call_id in self._begun
        self._begun.discard(call.call_id)
        completed = result.outcome == "completed"
        if call.tool == UPDATE_PLAN and completed and (plan := _plan(call.arguments)) is not None:
            return [plan]
        decided, process = call.call_id in self._decided, self._process_of(call, result)
        ended = CallEnded(call, result, output_text(result.item), began, decided, process)
        if completed and result.changes:
            return [ended, PatchChanged(tuple(result.changes), patch_text(call))]
        return [ended]

    def _process_of(self, call: ToolCallPayload, result: ToolResultPayload) -> str:
        """Keep track of commands that outlive their call; return the call that started the one written to."""
        number = call.arguments.get("session_id")
        if call.tool == WRITE_STDIN and isinstance(number, int):
            owner = self._processes.get(number, "")
            if result.exit_code is not None:
                self._processes.pop(number, None)
            return owner
        if call.tool == EXEC_COMMAND and result.process is not None and result.exit_code is None:
            self._processes[result.process] = call.call_id
        return ""


def _retried(retry: ModelRetryPayload, at: datetime) -> list[Happening]:
    """Return the wait for the next attempt; nothing where there is none, as before the turn's end."""
    try:
        waits = datetime.fromisoformat(retry.until) - at > SHORTEST_WAIT
    except (ValueError, TypeError, OverflowError):
        waits = True
    return [RequestRetried(retry)] if waits else []


def _item(item: object) -> list[Happening]:
    if not isinstance(item, dict):
        return []
    if text := agent_text(item):
        return [AgentSaid(text)]
    if text := reasoning_text(item):
        return [AgentReasoned(text)]
    return []


def _plan(arguments: dict[str, Any]) -> PlanChanged | None:
    steps = arguments.get("plan")
    if not isinstance(steps, list):
        return None
    explanation = arguments.get("explanation")
    return PlanChanged(
        tuple(
            PlanStep(str(step.get("step", "")), str(step.get("status", "pending")))
            for step in steps
            if isinstance(step, dict)
        ),
        explanation if isinstance(explanation, str) else "",
    )
