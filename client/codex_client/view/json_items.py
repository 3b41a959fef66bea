"""The items of the event stream: what ``codex exec --json`` calls them, and ours where it has none. Pure."""

from __future__ import annotations

import posixpath
from typing import Any

from codex_api.rows import Classification, FileChange, ToolCallPayload, ToolResultPayload
from codex_api.tools import EXEC_COMMAND, REQUEST_USER_INPUT, WRITE_STDIN
from codex_client.view.happenings import (
    AgentReasoned,
    AgentSaid,
    CompactionLeftOut,
    ConversationCompacted,
    RequestRetried,
    SandboxSaid,
    UserSaid,
)
from codex_client.view.items import is_patch, patched_files
from codex_client.view.shell_words import joined

JsonObject = dict[str, Any]
_SHELLS = frozenset({"bash", "sh", "zsh"})
_PATHS = frozenset({"path", "move_path"})
Remark = UserSaid | AgentSaid | AgentReasoned | ConversationCompacted | CompactionLeftOut | RequestRetried | SandboxSaid

_DECLINED = frozenset({"denied", "expired", "refused"})


def call_item(call: ToolCallPayload) -> JsonObject:
    """Return the item of a call that has begun."""
    if is_patch(call):
        return {"type": "file_change", "changes": _announced_changes(call), "status": "in_progress"}
    if call.tool in (EXEC_COMMAND, WRITE_STDIN) and call.classification is not Classification.MALFORMED:
        return {
            "type": "command_execution",
            "command": _command(call),
            "aggregated_output": "",
            "exit_code": None,
            "status": "in_progress",
            "directory": call.directory,
        }
    return {"type": "tool_call", "tool": call.tool, "arguments": call.arguments, "status": "in_progress"}


def call_status(call: ToolCallPayload, result: ToolResultPayload) -> str:
    """Return completed, failed or declined."""
    senseless = call.classification in (Classification.MALFORMED, Classification.UNKNOWN_TOOL)
    if result.outcome in _DECLINED and not senseless:
        return "declined"
    succeeded = result.outcome in ("completed", "answered") and not result.exit_code
    return "completed" if succeeded else "failed"


def approval_kind(call: ToolCallPayload) -> str:
    """Return command, patch, write_stdin or question."""
    if is_patch(call):
        return "patch"
    return {WRITE_STDIN: "write_stdin", REQUEST_USER_INPUT: "question"}.get(call.tool, "command")


def remark(happening: Remark) -> JsonObject:
    """Return the item of something that is complete when it is told."""
    match happening:
        case AgentSaid(text):
            return {"type": "agent_message", "text": text}
        case AgentReasoned(text):
            return {"type": "reasoning", "text": text}
        case UserSaid(text):
            return {"type": "user_message", "text": text}
        case ConversationCompacted(reason):
            return {"type": "compaction", "reason": reason}
        case RequestRetried(retry):
            about = {"code": retry.reason, "attempt": retry.attempt, "until": retry.until}
            return {"type": "error", "message": retry.message, **about}
        case CompactionLeftOut(message):
            return {"type": "error", "message": message, "code": "CompactionSkipped"}
        case SandboxSaid(reason, message):
            return {"type": "error", "message": message or reason, "code": reason}


def _announced_changes(call: ToolCallPayload) -> list[JsonObject]:
    return [{"path": posixpath.join(call.directory, path), "kind": kind.lower()} for kind, path in patched_files(call)]


def reported_changes(call: ToolCallPayload, changes: list[FileChange]) -> list[JsonObject]:
    """Return what a patch did, with whole paths."""
    return [
        {name: posixpath.join(call.directory, value) if name in _PATHS else value for name, value in fields.items()}
        for fields in (change.model_dump(exclude_none=True) for change in changes)
    ]


def _command(call: ToolCallPayload) -> str:
    """Return a command line with the shell that runs it, by its path; what is written to a command as it is shown."""
    if call.tool == WRITE_STDIN or not call.argv:
        command = call.arguments.get("cmd")
        return command if isinstance(command, str) else call.preview
    program, *arguments = call.argv
    return joined([f"/bin/{program}" if program in _SHELLS else program, *arguments])
