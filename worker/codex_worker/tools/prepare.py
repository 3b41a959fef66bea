"""From a model's call to what would run, and whether it may."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from codex_api.approvals import approval_id
from codex_api.names import call_id
from codex_api.rows import Classification, SessionSettings, ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_sandbox.digest import command_digest, write_digest
from codex_worker.tools import outcomes
from codex_worker.tools.display import MAX_PREVIEW_BYTES, escape_for_display, is_deceptive, preview
from codex_worker.tools.environment import command_environment, safe_command_environment
from codex_worker.tools.exec_command import (
    EXEC_COMMAND,
    WRITE_STDIN,
    BadArguments,
    ExecCommandArguments,
    WriteStdinArguments,
    parse_arguments,
)
from codex_worker.tools.output import function_call_output
from codex_worker.tools.safe_commands import NotKnownSafe, safe_argv

DEFAULT_SHELL = "bash"
MAX_NAME_CHARACTERS = 128


@dataclass(frozen=True)
class CallContext:
    """What all calls of one reply share."""

    session: str
    """Uid."""
    turn: int
    step: int
    settings: SessionSettings
    nonce: str
    """Fresh randomness of this reply: without it an approval given to an earlier session would match."""
    asked_before: int = 0
    """How many calls of the turn were asked for in earlier steps; only makes approval ids readable."""


@dataclass(frozen=True)
class PreparedCall:
    payload: ToolCallPayload
    output: dict[str, Any] | None = None
    """The item that answers a call which is unknown, malformed or forbidden; None for one that runs or asks."""


def prepare_reply(items: Iterable[dict[str, Any]], context: CallContext) -> list[PreparedCall]:
    """Judge the function calls among a reply's items, in their order; their index counts calls only.

    Raises KeyError for a call without name or call_id, which the Responses client refuses before.
    """
    prepared: list[PreparedCall] = []
    seen: set[str] = set()
    asked = context.asked_before
    for item in items:
        if item.get("type") != "function_call":
            continue
        repeated = item["call_id"] in seen
        seen.add(item["call_id"])
        call = prepare_call(item, context, index=len(prepared), asked_before=asked, repeated=repeated)
        asked += call.payload.classification is Classification.ASK
        prepared.append(call)
    return prepared


def prepare_call(
    item: dict[str, Any], context: CallContext, *, index: int, asked_before: int = 0, repeated: bool = False
) -> PreparedCall:
    """Judge one call; ``repeated`` says that an earlier call of the reply has the same provider's id."""
    base = ToolCallPayload(
        call_id=call_id(context.turn, context.step, index),
        provider_call_id=item["call_id"],
        index=index,
        tool=escape_for_display(str(item["name"])[:MAX_NAME_CHARACTERS]),
        classification=Classification.UNKNOWN_TOOL,
    )
    prepare = {EXEC_COMMAND: _exec_command, WRITE_STDIN: _write_stdin}.get(item["name"])
    if prepare is None:
        return _never_runs(base, Classification.UNKNOWN_TOOL, outcomes.unsupported_call(base.tool))
    try:
        if repeated:
            raise BadArguments("the call_id is that of another call of the same reply")
        call = prepare(base, item.get("arguments"), context)
    except BadArguments as error:
        return _never_runs(base, Classification.MALFORMED, outcomes.malformed_call(str(error)))
    if call.classification is not Classification.ASK:
        return PreparedCall(call)
    if call.truncated:
        # Nobody could approve it, and the turn would wait for nothing.
        shown = base.model_copy(update={"preview": call.preview, "truncated": True})
        return _never_runs(shown, Classification.FORBIDDEN, outcomes.too_long_to_approve(MAX_PREVIEW_BYTES))
    return PreparedCall(_with_approval(call, context, asked_before + 1))


def _never_runs(call: ToolCallPayload, classification: Classification, text: str) -> PreparedCall:
    payload = call.model_copy(update={"classification": classification})
    return PreparedCall(payload, function_call_output(call.provider_call_id, text))


def _with_approval(call: ToolCallPayload, context: CallContext, ordinal: int) -> ToolCallPayload:
    # The call's own id keeps apart two calls of a reply that would run the same.
    nonce = f"{context.nonce}.{call.call_id}"
    identity = approval_id(context.session, nonce, call.digest, context.turn, ordinal)
    return call.model_copy(update={"nonce": nonce, "approval_id": identity})


def _exec_command(base: ToolCallPayload, arguments: object, context: CallContext) -> ToolCallPayload:
    parsed = parse_arguments(ExecCommandArguments, arguments).clamped()
    settings = context.settings
    directory = _directory(settings.workspace, parsed.workdir)
    argv = [parsed.shell or DEFAULT_SHELL, "-lc" if parsed.login else "-c", parsed.cmd]
    environment = command_environment(context.session, settings.workspace)
    classification = Classification.AUTOMATIC
    if settings.approval_policy is not ApprovalPolicy.NEVER:
        try:
            argv = safe_argv(parsed.cmd, parsed.shell)
            environment = safe_command_environment(context.session, settings.workspace)
        except NotKnownSafe:
            classification = Classification.ASK
    shown, truncated = preview(_shown_command(parsed))
    return base.model_copy(
        update={
            "classification": classification,
            "arguments": parsed.model_dump(),
            "argv": argv,
            "directory": directory,
            "environment": environment,
            "tty": parsed.tty,
            "digest": command_digest(argv, directory, None, environment, parsed.tty),
            "preview": shown,
            "truncated": truncated,
        }
    )


def _write_stdin(base: ToolCallPayload, arguments: object, context: CallContext) -> ToolCallPayload:
    parsed = parse_arguments(WriteStdinArguments, arguments).clamped()
    unasked = not parsed.chars or context.settings.approval_policy is ApprovalPolicy.NEVER
    action = f"write to process {parsed.session_id}: " if parsed.chars else f"wait for process {parsed.session_id}"
    shown, truncated = preview(action + parsed.chars)
    return base.model_copy(
        update={
            "classification": Classification.AUTOMATIC if unasked else Classification.ASK,
            "arguments": parsed.model_dump(),
            "digest": write_digest(parsed.session_id, parsed.chars),
            "preview": shown,
            "truncated": truncated,
        }
    )


def _shown_command(arguments: ExecCommandArguments) -> str:
    """A shell the model chose is part of what runs, so the approver sees it."""
    if arguments.shell in (None, DEFAULT_SHELL):
        return arguments.cmd
    return f"{arguments.shell} {'-lc' if arguments.login else '-c'} {arguments.cmd}"


def _directory(workspace: str, workdir: str | None) -> str:
    """Return the absolute directory; raises BadArguments where it could not be shown as it is."""
    if workdir and any(is_deceptive(character) for character in workdir):
        raise BadArguments("`workdir` holds a character that cannot be shown to a person as it is")
    directory = posixpath.normpath(posixpath.join(workspace, workdir or ""))
    # POSIX keeps two leading slashes apart from one, Linux does not.
    return "/" + directory.lstrip("/")
