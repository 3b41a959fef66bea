"""A journaled call as the request a sandbox is sent, and the sandbox's reply as the call's result. Pure."""

from __future__ import annotations

from codex_api.events import TurnDiff
from codex_api.rows import FileChange, ToolCallPayload, ToolResultPayload
from codex_api.tools import APPLY_PATCH
from codex_sandbox.protocol import CommandReply, StartCommand, WriteCharacters
from codex_worker.handlers.results import position_of
from codex_worker.reply import output_of
from codex_worker.token_estimates import BYTES_PER_TOKEN
from codex_worker.tools import outcomes
from codex_worker.tools.apply_patch import REPORT_BYTES, YIELD_MS, BadReport, format_report, read_report
from codex_worker.tools.output import format_reply


def command_of(call: ToolCallPayload, boot_id: str) -> StartCommand:
    patch = call.tool == APPLY_PATCH
    return StartCommand(
        call_id=call.call_id,
        boot_id=boot_id,
        digest=call.digest,
        argv=tuple(call.argv),
        directory=call.directory,
        environment=call.environment,
        stdin=call.stdin,
        tty=call.tty,
        yield_time_ms=YIELD_MS if patch else int(call.arguments["yield_time_ms"]),
        max_output_bytes=REPORT_BYTES if patch else _output_bytes(call),
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


def process_of(call: ToolCallPayload) -> int:
    return int(call.arguments["session_id"])


def command_result(call: ToolCallPayload, reply: CommandReply, note: str) -> tuple[ToolResultPayload, list[TurnDiff]]:
    """Return the result of a command, and what else it lets happen; ``note`` goes before what the model reads."""
    if call.tool == APPLY_PATCH:
        return _patch_result(call, reply, note)
    text = note + format_reply(call.call_id, reply, int(call.arguments["max_output_tokens"]))
    result = ToolResultPayload(
        call_id=call.call_id,
        item=output_of(call, text),
        exit_code=reply.exit_code,
        process=reply.process,
        duration_seconds=reply.wall_time_seconds,
    )
    return result, []


def _patch_result(call: ToolCallPayload, reply: CommandReply, note: str) -> tuple[ToolResultPayload, list[TurnDiff]]:
    result = ToolResultPayload(
        call_id=call.call_id, item={}, exit_code=reply.exit_code, duration_seconds=reply.wall_time_seconds
    )
    try:
        report = read_report(reply)
    except BadReport as error:
        item = output_of(call, note + outcomes.failed(str(error)))
        return result.model_copy(update={"item": item, "outcome": "failed"}), []
    item = output_of(call, note + format_report(report, reply.wall_time_seconds))
    changes = [FileChange.model_validate(change.model_dump()) for change in report.changes]
    turn, _ = position_of(call)
    # Without a diff there is news too, where a patch took back what one before it had changed.
    changed = bool(changes or report.diff)
    events = [TurnDiff(turn=turn, unified_diff=report.diff, truncated=report.diff_truncated)] if changed else []
    return result.model_copy(update={"item": item, "changes": changes}), events


def _output_bytes(call: ToolCallPayload) -> int:
    return int(call.arguments["max_output_tokens"]) * BYTES_PER_TOKEN
