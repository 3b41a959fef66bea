"""Rows as a session journals them, made one by one, for tests of what is shown of them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from codex_api.events import Event
from codex_api.rows import (
    Classification,
    Delivery,
    FileChange,
    ItemPayload,
    MessagePayload,
    ModelRetryPayload,
    Payload,
    RowKind,
    ToolCallPayload,
    ToolIntentPayload,
    ToolResultPayload,
    UsagePayload,
)
from codex_journal.rows import Row
from codex_worker.tools.display import escape_for_display

SESSION = "5f0c2a52-8a0c-4d8e-9a57-3d2f6e2f9a11"
BEGINNING = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)


class SessionRows:
    """A journal in the making: each method returns the row it adds."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._calls = itertools.count()
        self.all: list[Row] = []
        self.turn = 1

    def add(self, kind: RowKind, payload: Payload | Event | dict[str, Any]) -> Row:
        seq = next(self._numbers)
        shape = payload if isinstance(payload, dict) else payload.model_dump(mode="json")
        at = BEGINNING + timedelta(seconds=seq)
        row = Row(SESSION, seq, self.turn, 1, 0, kind, f"claim-{seq}", 0, shape, at)
        self.all.append(row)
        return row

    def event(self, event: Event) -> Row:
        return self.add(RowKind.EVENT, event.model_copy(update={"turn": self.turn}))

    def message(self, text: str) -> Row:
        return self.add(RowKind.MESSAGE, MessagePayload(key="prompt", text=text, delivery=Delivery.QUEUE))

    def said(self, text: str) -> Row:
        content = [{"type": "output_text", "text": text}]
        item = {"type": "message", "role": "assistant", "content": content}
        return self.add(RowKind.ITEM, ItemPayload(item=item))

    def reasoned(self, text: str) -> Row:
        item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}
        return self.add(RowKind.ITEM, ItemPayload(item=item))

    def used(self, input_tokens: int, output_tokens: int, cost_millionths: int | None = None) -> Row:
        usage = UsagePayload(
            model="scripted", input_tokens=input_tokens, output_tokens=output_tokens, cost_millionths=cost_millionths
        )
        return self.add(RowKind.USAGE, usage)

    def retried(self, reason: str, message: str = "", until: str = "2026-03-04T12:03:10Z", attempt: int = 1) -> Row:
        return self.add(
            RowKind.MODEL_RETRY, ModelRetryPayload(attempt=attempt, reason=reason, message=message, until=until)
        )

    def call(self, tool: str = "exec_command", **fields: Any) -> ToolCallPayload:
        index = next(self._calls)
        defaults: dict[str, Any] = {
            "call_id": f"t{self.turn}.s1.c{index}",
            "provider_call_id": f"call_{index}",
            "index": index,
            "tool": tool,
            "classification": Classification.AUTOMATIC,
            "directory": "/workspace",
        }
        call = ToolCallPayload(**(defaults | fields))
        self.add(RowKind.TOOL_CALL, call)
        return call

    def command(self, cmd: str, **fields: Any) -> ToolCallPayload:
        shown = {"arguments": {"cmd": cmd}, "argv": ["bash", "-c", cmd], "preview": escape_for_display(cmd)}
        return self.call(**(shown | fields))

    def patch(self, text: str, **fields: Any) -> ToolCallPayload:
        argv = ["codex-apply-patch", "--report", "--turn", str(self.turn)]
        return self.call("apply_patch", stdin=text, argv=argv, preview=escape_for_display(text), **fields)

    def plan(self, *steps: tuple[str, str]) -> ToolCallPayload:
        return self.call(
            "update_plan", arguments={"plan": [{"step": step, "status": status} for step, status in steps]}
        )

    def began(self, call: ToolCallPayload) -> Row:
        return self.add(RowKind.TOOL_INTENT, ToolIntentPayload(call_id=call.call_id, boot_id="boot", generation=1))

    def ended(self, call: ToolCallPayload, output: str = "", exit_code: int | None = 0, **fields: Any) -> Row:
        heading = "Chunk ID: 0a1b2c\nWall time: 0.1000 seconds\nProcess exited with code 0\nOutput:\n"
        text = heading + output if call.tool == "exec_command" else output
        item = {"type": "function_call_output", "call_id": call.provider_call_id, "output": text}
        result = ToolResultPayload(call_id=call.call_id, item=item, exit_code=exit_code, **fields)
        return self.add(RowKind.TOOL_RESULT, result)

    def patched(self, call: ToolCallPayload, *changes: FileChange) -> Row:
        return self.ended(call, "Success. Updated the following files:\n", changes=list(changes))
