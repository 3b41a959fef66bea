"""What happened as the event stream of ``codex exec --json``, with fields of our own beside it. Pure.

Every event carries ``seq``, ``at`` and ``turn`` of the row behind it. Item types of our own: ``approval_request``,
``tool_call`` (tools without a type of theirs), ``compaction``. A retry is an ``error`` item with ``until``: not fatal.
"""

from __future__ import annotations

from datetime import UTC

from codex_api.approvals import DecisionKind
from codex_api.conditions import REASON_INTERRUPTED
from codex_api.events import TurnComplete
from codex_api.rows import ToolCallPayload, UsagePayload
from codex_api.tools import EXEC_COMMAND, REQUEST_USER_INPUT
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
    ProcessLeftRunning,
    RequestCharged,
    RequestRetried,
    SandboxSaid,
    SessionEnded,
    TurnBegan,
    TurnEnded,
    UserSaid,
)
from codex_client.view.json_items import JsonObject, approval_kind, call_item, call_status, remark, reported_changes
from codex_client.view.lines import ended_words
from codex_client.view.presenter import Outcome, RunInfo
from codex_client.view.progress import Progress
from codex_client.view.usage import UsageTotal
from codex_client.view.wording import option_value
from codex_journal.rows import Row

AboutCall = CallBegan | CallEnded | ProcessLeftRunning | ApprovalAsked | ApprovalAnswered

_STATUS_OF_DECISION = {
    DecisionKind.APPROVE: "approved",
    DecisionKind.DENY: "denied",
    DecisionKind.ABORT: "aborted",
    DecisionKind.ANSWER: "answered",
    DecisionKind.EXPIRE: "expired",
}


class EventStream:
    """The fold of a run's rows to events; items keep their id from start to completion."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._ids: dict[str, str] = {}
        self._issued = 0
        self._plan: list[JsonObject] = []
        self._usage = UsageTotal()
        self._ended = False

    def begin(self, info: RunInfo) -> list[JsonObject]:
        """Return the first event of a run."""
        about = {name: getattr(info, name) for name in ("model", "directory", "sandbox", "resumed")}
        about["approval_policy"] = option_value(info.approval_policy)
        return [{"type": "thread.started", "thread_id": info.session, **about}]

    def show(self, row: Row) -> list[JsonObject]:
        """Return the events of a row."""
        at = row.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        place = {"seq": row.seq, "at": at, "turn": row.turn}
        return [event | place for happening in self._progress.feed(row) for event in self._events(happening)]

    def end(self, outcome: Outcome) -> list[JsonObject]:
        """Return the last event of a run in which no turn ended by itself."""
        if self._ended or not outcome.exit_code:
            return []
        return [{"type": "error", "message": outcome.message, "code": outcome.reason}]

    def _events(self, happening: Happening) -> list[JsonObject]:
        match happening:
            case TurnBegan(turn, prompt):
                self._usage, self._ended = UsageTotal(), False
                return [{"type": "turn.started", "turn": turn, "prompt": prompt}]
            case TurnEnded():
                return self._turn_ended(happening)
            case RequestCharged(usage):
                self._usage = self._usage.plus(usage)
                return [{"type": "request.usage", "model": usage.model, **_request_usage(usage)}]
            case DiffGrew(unified_diff, truncated):
                return [{"type": "turn.diff", "unified_diff": unified_diff, "truncated": truncated}]
            case SessionEnded(reason):
                return [{"type": "thread.closed", "reason": reason}]
            case PatchChanged():
                return []
            case PlanChanged():
                return [self._plan_changed(happening)]
            case (
                UserSaid()
                | AgentSaid()
                | AgentReasoned()
                | ConversationCompacted()
                | CompactionLeftOut()
                | RequestRetried()
                | SandboxSaid()
            ):
                return [{"type": "item.completed", "item": {"id": self._id(), **remark(happening)}}]
            case _:
                return self._call_events(happening)

    def _call_events(self, happening: AboutCall) -> list[JsonObject]:
        match happening:
            case CallBegan(call):
                return [_item("started", self._call_item(call), call)]
            case CallEnded():
                return self._call_ended(happening)
            case ProcessLeftRunning(call, process):
                item = self._call_item(call) | {"status": "in_progress", "process": process}
                return [_item("completed", item, call)]
            case ApprovalAsked():
                return [self._asked(happening)]
            case ApprovalAnswered():
                return [self._answered(happening)]

    def _id(self, key: str = "") -> str:
        """Return the id of what the key names, a new one where there is none."""
        if key in self._ids:
            return self._ids[key]
        identity = f"item_{self._issued}"
        self._issued += 1
        if key:
            self._ids[key] = identity
        return identity

    def _call_item(self, call: ToolCallPayload) -> JsonObject:
        return {"id": self._id(call.call_id), **call_item(call)}

    def _turn_ended(self, happening: TurnEnded) -> list[JsonObject]:
        self._ended = True
        events: list[JsonObject] = []
        if self._plan:
            events.append({"type": "item.completed", "item": self._plan_item()})
            self._plan = []
            del self._ids["plan"]
        end, usage = happening.end, self._usage.fields()
        if isinstance(end, TurnComplete):
            return [*events, {"type": "turn.completed", "usage": usage}]
        error = {"message": ended_words(happening), "code": end.reason}
        interrupted = end.reason == REASON_INTERRUPTED
        return [*events, {"type": "turn.failed", "error": error, "interrupted": interrupted, "usage": usage}]

    def _plan_changed(self, plan: PlanChanged) -> JsonObject:
        kind = "item.updated" if self._plan else "item.started"
        self._plan = [
            {"text": step.text, "completed": step.status == "completed", "status": step.status} for step in plan.steps
        ]
        return {"type": kind, "item": self._plan_item() | {"explanation": plan.explanation}}

    def _plan_item(self) -> JsonObject:
        return {"id": self._id("plan"), "type": "todo_list", "items": self._plan}

    def _call_ended(self, ended: CallEnded) -> list[JsonObject]:
        call, result = ended.call, ended.result
        item = self._call_item(call)
        process = result.process if result.exit_code is None and result.outcome == "completed" else None
        item |= {
            "status": call_status(call, result),
            "outcome": result.outcome,
            "duration_seconds": result.duration_seconds,
        }
        if item["type"] == "file_change":
            if result.changes:
                item["changes"] = reported_changes(call, result.changes)
            item["output"] = ended.output
        elif item["type"] == "command_execution":
            item |= {"aggregated_output": ended.output, "exit_code": result.exit_code}
        else:
            item["output"] = ended.output
        if process is None:
            return [_item("completed", item, call), *self._process_ended(ended)]
        if call.tool == EXEC_COMMAND:
            # It goes on: its completion is the exit that a later write_stdin sees, or the end of the turn.
            return [_item("updated", item | {"status": "in_progress", "process": process}, call)]
        return [_item("completed", item | {"status": "completed", "process": process}, call)]

    def _process_ended(self, ended: CallEnded) -> list[JsonObject]:
        """Complete the command whose end a write_stdin saw."""
        if not ended.of_process or ended.result.exit_code is None:
            return []
        call = self._progress.call(ended.of_process)
        if call is None:
            return []
        item = self._call_item(call) | {"exit_code": ended.result.exit_code, "status": call_status(call, ended.result)}
        return [_item("completed", item | {"aggregated_output": ended.output}, call)]

    def _asked(self, asked: ApprovalAsked) -> JsonObject:
        request, call = asked.request, asked.call
        item: JsonObject = {
            "id": self._id(request.approval_id),
            "type": "approval_request",
            "approval_id": request.approval_id,
            "status": "pending",
            "expires": request.expiration_time,
        }
        if call is not None:
            item |= {"kind": approval_kind(call), "command": call.preview, "directory": call.directory}
            item |= {"justification": call.justification, "digest": call.digest}
            if call.tool == REQUEST_USER_INPUT:
                item["questions"] = call.arguments.get("questions", [])
        return {"type": "item.started", "item": item, "call_id": request.call_id}

    def _answered(self, answered: ApprovalAnswered) -> JsonObject:
        decided = answered.decided
        item = {
            "id": self._id(decided.approval_id),
            "type": "approval_request",
            "approval_id": decided.approval_id,
            "status": _STATUS_OF_DECISION[decided.decision],
            "reason": decided.reason,
            "decided_by": decided.decided_by,
            "waited_seconds": decided.waited_seconds,
        }
        return {"type": "item.completed", "item": item, "call_id": decided.call_id}


def _item(stage: str, item: JsonObject, call: ToolCallPayload) -> JsonObject:
    return {"type": f"item.{stage}", "item": item, "call_id": call.call_id}


def _request_usage(usage: UsagePayload) -> JsonObject:
    return {
        "usage": UsageTotal().plus(usage).fields(),
        "duration_seconds": usage.duration_seconds,
        "estimated": usage.estimated,
    }
